"""Generates captions for synthetic images, and computes which captions are true of which images.

A caption mentions a few of the attributes in draw.ATTRIBUTES. It is true of every image that has the mentioned values:
"a photo of a letter." is true of all letters in a batch.
"""

from assets.draw import ATTRIBUTES, GROUPS

PLAIN = ("a photo of a {}.", "a photo of the {}.")
TEMPLATES = PLAIN + (
    "{}", "{}.", "a {}.", "the {}.", "this is a photo of a {}.", "an image of a {}.", "a picture of the {}.",
    "a drawing of a {}.", "a drawing of the {}.", "a sketch of a {}.", "a close-up photo of the {}.", "itap of a {}.",
    "a bad photo of the {}.", "a good photo of a {}.", "a origami {}.", "a photo of the large {}.",
    "a photo of the small {}.", "a {} in a video game.", "art of the {}.", "a photo of one {}.", "a photo of many {}.",
    "a centered satellite photo of {}.", "a centered photo of the {}.", "a photo of a {}, a type of symbol.",
    "a photo of a person doing {}.", "{} texture.", "a photo of my {}.", "a photo of a {}, a type of pet.",
    "a photo of a {}, a type of food.", "a photo of a {}, a type of flower.", "a photo of a {}, a type of aircraft.",
    "a rendering of the {}.", "a low resolution photo of the {}.", "there is a {} in the scene.", "X X X X {}.",
)  # fmt: skip
ADJECTIVES = {  # attribute: {value: words}; captions never mention a missing value
    "style": {0: ("printed", "typed"), 1: ("handwritten", "drawn")},
    "weight": {0: ("thin", "light"), 2: ("bold", "thick")},
    "slant": {0: ("upright", "straight"), 2: ("slanted", "italic")},
    "detail": {0: ("pixelated", "blurry"), 2: ("sharp", "clear")},
}
COLUMN = {name: i for i, name in enumerate(ATTRIBUTES)}
UNSAID = -1  # value of an attribute that a caption does not mention


def nouns(name, group, case):
    """Returns the nouns for a glyph, each with the attributes it mentions."""
    word = ATTRIBUTES["name"][name]
    if group == 0:
        numeral = str(name)
        return [(f"number {word}", ("name",))] * 3 + [
            (word, ("name",)), (f"digit {word}", ("name",)), (f"number {numeral}", ("name",)), (numeral, ("name",)),
            ("number", ("group",)), ("digit", ("group",)),
        ]  # fmt: skip
    if group == 1:
        size = "capital" if case == 1 else "lowercase"
        return [(f"letter {word}", ("name",))] * 2 + [
            (f"{size} letter {word}", ("name", "case")), (f"{size} {word}", ("name", "case")), ("letter", ("group",)),
        ]  # fmt: skip
    return [(word, ("name",))] * 3 + [(f"{word} shape", ("name",)), ("shape", ("group",))]


def caption(attributes, rng):
    """Returns a random caption that is true of an image, and the attribute values that it mentions.

    Example: attributes (7, 0, 0, 1, 2, ...), a bold handwritten seven, may give "a photo of a bold seven." and
    [7, UNSAID, UNSAID, UNSAID, 2, ...].
    """
    said = [UNSAID] * len(ATTRIBUTES)
    noun, mentioned = rng.choice(nouns(*attributes[:3]))
    words = [noun]
    adjectives = []
    for attribute, words_by_value in ADJECTIVES.items():
        value = attributes[COLUMN[attribute]]
        if value in words_by_value:
            adjectives.append((attribute, words_by_value[value]))
    count = rng.choice((0, 0, 0, 1, 1, 2))
    for attribute, synonyms in rng.sample(adjectives, min(count, len(adjectives))):
        words.insert(0, rng.choice(synonyms))
        mentioned += (attribute,)
    if rng.random() < 0.15:
        words.append(ATTRIBUTES["ink"][attributes[COLUMN["ink"]]])
        mentioned += ("ink",)
    for attribute in mentioned:
        said[COLUMN[attribute]] = attributes[COLUMN[attribute]]
    template = rng.choice(PLAIN if rng.random() < 0.4 else TEMPLATES)
    return template.format(" ".join(words)), said


def true_of(attributes, said):
    """Returns whether each caption is true of each image, (images, captions), from (images, A) and (captions, A)."""
    said = said[None]
    return ((said == UNSAID) | (said == attributes[:, None])).all(-1)


def all_words():
    """Returns all words and punctuation marks of captions, for the vocabulary."""
    texts = list(TEMPLATES) + list(ATTRIBUTES["ink"])
    texts += [word for by_value in ADJECTIVES.values() for words in by_value.values() for word in words]
    name = 0
    for group, glyphs in enumerate(GROUPS.values()):
        for _ in glyphs:
            texts += [noun for case in (1, 2) for noun, _ in nouns(name, group, case)]
            name += 1
    return sorted(set(" ".join(texts).replace("{}", " ").replace(".", " . ").replace(",", " , ").split()))

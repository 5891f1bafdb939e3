"""Glyph captions: printed digits and capitals, each in 16 looks, with five captions per image. Needs no download.

An image shows one of 34 characters in a font that the micro CLIP was not trained on (glyphs.py): thin or bold, upright
or slanted, sharp or pixelated, white on black or the other way round. There is one image per character and look. The
captions name the character and some of the rest, in words that the micro CLIP knows:

    a photo of a bold slanted pixelated number seven white on black.
    a drawing of the sharp capital letter b.
"""

import csv
import io
import itertools
import os
import random

from PIL import Image, ImageOps

from trainers.common.runs.files import write_atomically

from .bundled import write_images
from .capital_letters import CapitalLetters
from .digits import CLASSNAMES as DIGITS
from .glyphs import SIDE, draw
from .random_splits import split_three
from .splits import Item

NAME = "glyph_captions"
FILE = "captions.csv"
CAPTIONS = 5  # per image
COARSE = 10  # pixels, the side of a pixelated image
FONTS = {
    ("thin", "upright"): "STIXGeneral",
    ("bold", "upright"): "STIXGeneralBol",
    ("thin", "slanted"): "STIXGeneralItalic",
    ("bold", "slanted"): "STIXGeneralBolIta",
}
SYNONYMS = {
    "thin": ("thin", "light"), "bold": ("bold", "thick"), "upright": ("upright", "straight"),
    "slanted": ("slanted", "italic"), "sharp": ("sharp", "clear"), "pixelated": ("pixelated", "blurry"),
}  # fmt: skip
INKS = ("white on black", "black on white")
TEMPLATES = (
    "a photo of a {}.",
    "a photo of the {}.",
    "an image of a {}.",
    "a drawing of the {}.",
    "a picture of the {}.",
)
LOOKS = list(itertools.product(FONTS, ("sharp", "pixelated"), INKS))


def characters() -> dict:
    """Returns {class name: (character, nouns)}."""
    found = {}
    for number, name in enumerate(DIGITS):
        found[name] = (str(number), (f"number {name}", f"digit {name}", f"number {number}"))
    for name, letter in CapitalLetters.characters.items():
        found[name] = (letter, (f"letter {name}", f"capital letter {name}", f"capital {name}"))
    return found


def render(character: str, look: tuple, rng: random.Random) -> Image.Image:
    """Returns a greyscale image of SIDE x SIDE pixels. `look` is one of LOOKS."""
    style, detail, ink = look
    image = draw(character, FONTS[style], rng)
    if detail == "pixelated":
        image = image.resize((COARSE, COARSE), Image.Resampling.BOX).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    return image if ink == INKS[0] else ImageOps.invert(image)


def captions(nouns: tuple, look: tuple, rng: random.Random) -> list[str]:
    """Returns CAPTIONS captions: the first says everything about the image, each of the others leaves something out."""
    style, detail, ink = look
    words = (*style, detail)
    found = []
    for index, template in enumerate(TEMPLATES):
        said = words if index == 0 else sorted(rng.sample(words, rng.choice((1, 2))), key=words.index)
        adjectives = [rng.choice(SYNONYMS[word]) for word in said]
        inks = [ink] if index == 0 or rng.random() < 0.5 else []
        found.append(template.format(" ".join([*adjectives, rng.choice(nouns), *inks])))
    return found


def make() -> tuple[dict, list]:
    """Returns {path: image}, and rows (path, caption, split) for a CSV file. The same on every call."""
    images, texts, items = {}, {}, []
    for label, (name, (character, nouns)) in enumerate(characters().items()):
        for number, look in enumerate(LOOKS):
            path = f"{name}/{name}_{number:02d}.png"
            rng = random.Random(path)
            images[path] = render(character, look, rng)
            texts[path] = captions(nouns, look, rng)
            items.append(Item(path, label, name))
    rows = []
    for split, own in split_three(items)._asdict().items():
        rows += [(item.path, caption, split) for item in own for caption in texts[item.path]]
    return images, rows


def write_dataset(root: str) -> str:
    """Writes the images and captions below `root`, unless they are there. Returns the path of the CSV file.

    Raises OSError if they cannot be written.
    """
    folder = os.path.join(os.path.abspath(os.path.expanduser(root)), NAME)
    path = os.path.join(folder, FILE)
    if not os.path.isfile(path) or not os.path.isdir(os.path.join(folder, "images")):
        images, rows = make()
        write_images(os.path.join(folder, "images"), images)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([("image", "caption", "split"), *rows])
        write_atomically(path, text.getvalue())
    return path

"""Places of learned tokens and class names, with tokenizers of every kind."""

import pytest
import torch

import train  # noqa: F401  (makes dassl importable)
from tests.reference import transformers_zoo
from tests.user_errors import raises_user_error
from trainers.common.models.tokenizers import LibraryTokenizer, OpenAITokenizer
from trainers.common.models.transformers_inputs import read_tokenizer
from trainers.common.prompt_learner import place_in_captions, place_learned

transformers = pytest.importorskip("transformers")
NAMES = ["cat", "number nine", "dog 7", "zero two cat"]


@pytest.mark.parametrize("position", ["end", "middle", "front"])
@pytest.mark.parametrize("kind", ["clip_bpe", "bert", "roberta", "t5", "gemma"])
def test_the_whole_class_name_and_nothing_else_is_moved(kind, position, tmp_path):
    vocabulary = getattr(transformers_zoo, kind)(tmp_path)
    own = transformers.AutoTokenizer.from_pretrained(tmp_path)
    tokenizer, _ = read_tokenizer("zoo", str(tmp_path), 77, vocabulary)
    plain = tokenizer([f"a photo {name}." for name in NAMES])
    n_text = tokenizer.count(["a photo"])[0]
    placed = place_learned(tokenizer, NAMES, "a photo", n_text, position)
    for row, before, name in zip(placed, plain, NAMES, strict=True):
        learned = (row < 0).nonzero()[:, 0]
        assert row[learned].tolist() == [-1 - i for i in range(n_text)]
        others = torch.cat([before[: tokenizer.start], before[tokenizer.start + n_text :]])
        assert sorted(row[row >= 0].tolist()) == sorted(others.tolist())
        if position == "front":
            found = row[tokenizer.start : learned[0]]
        elif position == "middle":
            found = row[learned[n_text // 2 - 1] + 1 : learned[n_text // 2]]
        else:
            found = row[learned[-1] + 1 :]
        text = own.decode(found, skip_special_tokens=True).strip()
        assert text in ((f"{name}.", f"{name} .") if position == "end" else (name,))

    captions = [*NAMES, "cat " * 100]
    placed, was_cut = place_in_captions(tokenizer, captions, "a photo", n_text, position)
    plain = tokenizer.cut([f"a photo {caption}" for caption in captions])[0]
    assert was_cut == [False] * len(NAMES) + [True]
    learned, first = [-1 - i for i in range(n_text)], {"end": n_text, "middle": n_text // 2, "front": 0}[position]
    for row, before, caption in zip(placed.tolist(), plain.tolist(), captions, strict=True):
        start, end = tokenizer.start, tokenizer.start + min(len(tokenizer.ids(f"a photo {caption}")), tokenizer.longest)
        own = before[start + n_text : end]  # the caption as it is, as far as it fits
        assert row == [*before[:start], *learned[:first], *own, *learned[first:], *before[end:]]


def whole_string_tokenizer(*pieces):
    """Splits a text into the longest of `pieces` from the left, across words and punctuation."""

    def ids(text):
        found = []
        while text:
            piece = next(p for p in sorted(pieces, key=len, reverse=True) if text.startswith(p))
            found.append(pieces.index(piece) + 2)
            text = text[len(piece) :]
        return found

    def tokenize(prompts):
        return torch.tensor([[0, *ids(p), 1, *[1] * (20 - len(ids(p)))] for p in prompts])

    return LibraryTokenizer(tokenize, ids, 22, 1, 1, 2)


def test_a_tokenizer_that_splits_a_name_differently_before_a_full_stop_is_refused():
    tokenizer = whole_string_tokenizer("X", " ", "cat", "ca", "t.", ".", "!", "!.", "dog")
    assert tokenizer.count(["cat", "cat."]) == [1, 2]  # "cat" and "ca", "t."
    tokenizer = whole_string_tokenizer("X", " ", "ca", "t", "t.", ".", "!", "!.", "dog")
    assert place_learned(tokenizer, ["ca"], "X", 1, "end")[0, :2].tolist() == [0, -1]
    for position in ("middle", "front"):
        with raises_user_error("CLASS_TOKEN_POSITION", position, "'cat'", "end"):
            place_learned(tokenizer, ["dog", "cat"], "X", 1, position)
    front = place_learned(tokenizer, ["dog", "dog!"], "X", 1, "front")
    assert front[0, :6].tolist() == [0, 3, 10, -1, 7, 1]  # " ", "dog", X, "."
    assert front[1, :6].tolist() == [0, 3, 10, 9, -1, 1]  # " ", "dog", "!.", X


def test_a_tokenizer_that_splits_the_context_differently_is_refused():
    tokenizer = whole_string_tokenizer("X", "X c", " ", "c", "at", ".")
    with raises_user_error("'X'"):
        place_learned(tokenizer, ["cat"], "X", 1, "end")


def test_openais_tokenizer_with_names_that_end_with_punctuation():
    """The places of CoOp's code, which counts the tokens of a name that stands alone."""
    names = ["st.", "wow!", "Boeing 737-800", "C++", "it's", "(small)"]
    tokenizer = OpenAITokenizer()
    plain = tokenizer([f"X X {name}." for name in names])
    for row, before, name in zip(place_learned(tokenizer, names, "X X", 2, "front"), plain, names, strict=True):
        n = tokenizer.count([name])[0]
        expected = torch.cat([before[:1], before[3 : 3 + n], torch.tensor([-1, -2]), before[3 + n :]])
        assert torch.equal(row, expected)

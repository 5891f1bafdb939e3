"""The drawn images and their captions: deterministic, complete, true, and made without looking at the digits data."""

import ast
import random
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from assets import captions, draw, train_micro_clip
from assets.strokes import DIGITS, LETTERS, SHAPES

SCRIPTS = [Path(module.__file__) for module in (draw, captions, train_micro_clip)] + [
    Path(draw.__file__).with_name("strokes.py")
]
STANDARD = {"argparse", "functools", "math", "os", "pathlib", "random", "sys", "time", "warnings"}
ALLOWED = STANDARD | {"clip", "matplotlib", "numpy", "PIL", "scipy", "torch", "tqdm", "assets"}


@pytest.fixture(scope="module")
def artist():
    return draw.Artist(fonts=["DejaVuSans", "cmr10"])


@pytest.fixture(scope="module")
def drawn(artist):
    return artist.draw(1500, seed=3)


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda path: path.name)
def test_scripts_import_no_data_set(script):
    names = set()
    for node in ast.walk(ast.parse(script.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom):
            names.add(node.module)
    assert {name.split(".")[0] for name in names} <= ALLOWED
    assert "load_digits" not in script.read_text() and "sklearn" not in script.read_text()


def test_same_seed_same_images(artist):
    (image, known), (again, known_again), (other, _) = (artist.draw(150, seed) for seed in (5, 5, 6))
    assert torch.equal(image, again) and torch.equal(known, known_again)
    assert not torch.equal(image, other)


def test_every_class_group_and_attribute_is_drawn(drawn):
    image, known = drawn
    assert image.shape == (1500, draw.SIDE, draw.SIDE) and image.dtype == torch.uint8
    for column, (attribute, values) in enumerate(draw.ATTRIBUTES.items()):
        wanted = 1 if attribute == "ink" else len(values)  # ink is decided when a batch is made
        assert set(known[:, column].tolist()) == set(range(wanted)), attribute
    groups = dict(zip(draw.GROUPS, (DIGITS, LETTERS, SHAPES), strict=True))
    for name, group in known[:, :2].tolist():
        assert draw.ATTRIBUTES["name"][name] in groups[tuple(groups)[group]]


def test_images_hold_ink_in_the_middle_and_differ(drawn):
    image = drawn[0].float() / 255
    share = image.mean((1, 2))
    assert (share > 0.01).all() and (share < 0.7).all()
    assert (image.amax((1, 2)) > 0.1).all()
    assert len(torch.unique(image.flatten(1), dim=0)) == len(image)


def test_bold_images_hold_more_ink_than_thin_ones(drawn):
    image, known = drawn
    weight = known[:, list(draw.ATTRIBUTES).index("weight")]
    ink = [image[weight == i].float().mean() for i in range(3)]
    assert ink[0] < 0.8 * ink[1] and ink[1] < 0.9 * ink[2]


def test_held_out_fonts_and_skeletons_are_not_those_of_training():
    assert not set(draw.FONTS) & set(draw.HELD_OUT_FONTS)
    seen, held_out = draw.Artist(["cmr10"]), draw.Artist(["cmtt10"], held_out=True)
    shapes = range(len(DIGITS) + len(LETTERS), len(draw.ATTRIBUTES["name"]))
    for name in range(len(DIGITS)):
        mine, other = (
            {a.points[row[4]].numpy().tobytes() for row in a.rows.tolist() if row[0] == name and row[3] == 1}
            for a in (seen, held_out)
        )
        assert mine and other and not mine & other
    assert shapes  # shapes have one skeleton each and cannot be held out


@given(st.integers(0, 9999), st.integers(0, 1499))
@settings(max_examples=200, deadline=None)
def test_a_caption_is_true_of_its_image_and_says_what_its_words_say(drawn, seed, index):
    known = drawn[1][index].tolist()
    text, said = captions.caption(known, random.Random(seed))
    assert captions.true_of(torch.tensor([known]), torch.tensor([said])).item()
    words = text.replace(".", " ").replace(",", " ").split()
    for column, values in captions.ADJECTIVES.items():
        spoken = [v for v, synonyms in values.items() if set(synonyms) & set(words)]
        place = captions.COLUMN[column]
        assert said[place] == (spoken[0] if spoken else captions.UNSAID), text
    if said[0] == captions.UNSAID:
        assert {"number", "digit", "letter", "shape"} & set(words), text


def test_truth_against_a_plain_loop(drawn):
    known = drawn[1][:40]
    rng = random.Random(0)
    said = [captions.caption(row, rng)[1] for row in known.tolist()]
    table = captions.true_of(known, torch.tensor(said))
    for i, row in enumerate(known.tolist()):
        for j, claim in enumerate(said):
            assert table[i, j].item() == all(c in (captions.UNSAID, a) for c, a in zip(claim, row, strict=True))


def test_every_caption_is_in_the_vocabulary_and_short_enough(drawn):
    rng = random.Random(1)
    ids = train_micro_clip.vocabulary()
    texts = [captions.caption(row, rng)[0] for row in drawn[1].tolist()]
    tokens = train_micro_clip.tokenize(texts, context_length=train_micro_clip.CONTEXT)
    assert torch.isin(tokens, ids).all()
    assert torch.equal(ids, torch.unique(ids)) and ids[0] == 0  # sorted, and padding is row 0

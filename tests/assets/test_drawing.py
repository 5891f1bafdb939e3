"""Synthetic images and their captions are deterministic, complete and consistent, and use no data of the digits."""

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
def samples(artist):
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


def test_every_class_group_and_attribute_occurs(samples):
    image, known = samples
    assert image.shape == (1500, draw.SIDE, draw.SIDE) and image.dtype == torch.uint8
    for column, (attribute, values) in enumerate(draw.ATTRIBUTES.items()):
        n_values = 1 if attribute == "ink" else len(values)  # the ink colour is chosen per batch in training
        assert set(known[:, column].tolist()) == set(range(n_values)), attribute
    groups = dict(zip(draw.GROUPS, (DIGITS, LETTERS, SHAPES), strict=True))
    for name, group in known[:, :2].tolist():
        assert draw.ATTRIBUTES["name"][name] in groups[tuple(groups)[group]]


def test_images_hold_ink_in_the_middle_and_differ(samples):
    image = samples[0].float() / 255
    brightness = image.mean((1, 2))
    assert (brightness > 0.01).all() and (brightness < 0.7).all()
    assert (image.amax((1, 2)) > 0.1).all()
    assert len(torch.unique(image.flatten(1), dim=0)) == len(image)


def test_bold_images_hold_more_ink_than_thin_ones(samples):
    image, known = samples
    weight = known[:, list(draw.ATTRIBUTES).index("weight")]
    ink = [image[weight == i].float().mean() for i in range(3)]
    assert ink[0] < 0.8 * ink[1] and ink[1] < 0.9 * ink[2]


def test_held_out_fonts_and_skeletons_are_not_those_of_training():
    assert not set(draw.FONTS) & set(draw.HELD_OUT_FONTS)
    training = draw.Artist(["cmr10"])
    held_out = draw.Artist(["cmtt10"], held_out=True)
    shapes = range(len(DIGITS) + len(LETTERS), len(draw.ATTRIBUTES["name"]))
    for name in range(len(DIGITS)):
        skeletons = []
        for artist in (training, held_out):
            indices = [row[4] for row in artist.rows.tolist() if row[0] == name and row[3] == 1]
            skeletons.append({artist.points[index].numpy().tobytes() for index in indices})
        assert all(skeletons) and not skeletons[0] & skeletons[1]
    assert shapes  # shapes have one skeleton each, which cannot be held out


@given(st.integers(0, 9999), st.integers(0, 1499))
@settings(max_examples=200)
def test_a_caption_is_true_of_its_image_and_its_values_match_its_words(samples, seed, index):
    known = samples[1][index].tolist()
    text, said = captions.caption(known, random.Random(seed))
    assert captions.true_of(torch.tensor([known]), torch.tensor([said])).item()
    words = text.replace(".", " ").replace(",", " ").split()
    for column, values in captions.ADJECTIVES.items():
        mentioned = [v for v, synonyms in values.items() if set(synonyms) & set(words)]
        expected = mentioned[0] if mentioned else captions.UNSAID
        assert said[captions.COLUMN[column]] == expected, text
    if said[0] == captions.UNSAID:
        assert {"number", "digit", "letter", "shape"} & set(words), text


def test_truth_against_a_plain_loop(samples):
    known = samples[1][:40]
    rng = random.Random(0)
    said = [captions.caption(row, rng)[1] for row in known.tolist()]
    table = captions.true_of(known, torch.tensor(said))
    for i, row in enumerate(known.tolist()):
        for j, claim in enumerate(said):
            assert table[i, j].item() == all(c in (captions.UNSAID, a) for c, a in zip(claim, row, strict=True))


def test_every_caption_is_in_the_vocabulary_and_short_enough(samples):
    rng = random.Random(1)
    ids = train_micro_clip.vocabulary()
    texts = [captions.caption(row, rng)[0] for row in samples[1].tolist()]
    tokens = train_micro_clip.tokenize(texts, context_length=train_micro_clip.CONTEXT)
    assert torch.isin(tokens, ids).all()
    assert torch.equal(ids, torch.unique(ids)) and ids[0] == 0  # sorted, and padding is row 0

"""The bundled datasets for rehearsals: complete, the same everywhere, new to the micro CLIP, and recognised by it."""

import os
import random
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from matplotlib.ft2font import FT2Font
from PIL import Image

from assets import draw, train_micro_clip
from assets.strokes import LETTERS, SHAPES
from dassl.data.datasets import DATASET_REGISTRY
from datasets import catalogue, glyphs
from tests.datasets import mini
from tests.user_errors import raises_user_error
from trainers.common.models.loading import clip, load_clip
from trainers.common.prompts import tokenize

RENDERED = ["CapitalLetters", "Symbols"]
VARIANTS = ["DigitsRotated", "DigitsNoisy"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("bundled")
    for name in ("Digits", *RENDERED, *VARIANTS):
        mini.build(name, root)
    return root


def pixels(path):
    with Image.open(path) as image:
        return np.asarray(image.convert("L").resize((32, 32), Image.Resampling.BICUBIC), dtype=float)


def test_every_bundled_dataset_is_tested():
    assert {e.name for e in catalogue.entries().values() if e.bundled} == {"Digits", *RENDERED, *VARIANTS}


@pytest.mark.parametrize("name, classes", [("CapitalLetters", LETTERS), ("Symbols", SHAPES)])
def test_rendered_datasets(root, name, classes):
    data = mini.build(name, root)
    assert data.classnames == list(classes)
    counts = catalogue.entries()[name].counts
    assert [data.num_classes, *(len(split) for split in (data.train_x, data.val, data.test))] == list(counts)
    assert {sum(d.label == label for d in data.test) for label in range(len(classes))} == {30}
    images = np.stack([pixels(d.impath) for d in data.train_x + data.val + data.test])
    assert len(np.unique(images, axis=0)) == len(images), "no two images are equal"
    assert (images.max((1, 2)) > 100).all() and (images.mean((1, 2)) < 200).all()


@pytest.mark.parametrize("name", RENDERED)
def test_characters_and_fonts_are_new_to_the_micro_clip_but_the_words_are_not(name):
    cls = DATASET_REGISTRY.get(name)
    assert set(cls.fonts) <= set(draw.HELD_OUT_FONTS) and not set(cls.fonts) & set(draw.FONTS)
    for font in cls.fonts:
        available = FT2Font(glyphs.load_font(font).path).get_charmap()
        assert all(ord(character) in available for characters in cls.characters.values() for character in characters)
    prompts = tokenize([cls.template.format(classname) for classname in cls.characters])
    assert torch.isin(prompts, train_micro_clip.vocabulary()).all()


@pytest.mark.parametrize("name", VARIANTS)
def test_variants_are_the_test_images_of_the_digits(root, name):
    digits, variant = mini.build("Digits", root), mini.build(name, root, shots=1)

    def labels(data, items):
        return {os.path.relpath(d.impath, data.image_dir): d.classname for d in items}

    assert labels(variant, variant.test) == labels(variant, variant.train_x) == labels(digits, digits.test)
    assert variant.val is None and variant.classnames == digits.classnames
    assert not {Path(d.impath).name for d in variant.test} & {Path(d.impath).name for d in digits.train_x + digits.val}
    assert catalogue.resolve(name).template == catalogue.resolve("digits").template


def test_corruptions(root):
    def images(name):
        folder = root / name / "images"
        return {path.relative_to(folder): pixels(path) for path in folder.rglob("*.png")}

    originals, rotated, noisy = images("digits"), images("digits_rotated"), images("digits_noisy")
    grey = []
    for path in noisy:
        values, original = (
            np.asarray(Image.open(root / name / "images" / path)) for name in ("digits_noisy", "digits")
        )
        grey += (values.astype(float) - original)[(original > 110) & (original < 145)].tolist()
    assert abs(np.std(grey) - 60) < 3, "the noise on middle grey, where it rarely leaves 0 to 255"
    changed = [np.abs(rotated[path] - originals[path]).max() > 30 for path in rotated]
    assert np.mean(changed) > 0.9, "a few angles are close to 0"
    ink = np.array([[image[path].sum() for path in rotated] for image in (rotated, originals)])
    assert np.corrcoef(ink)[0, 1] > 0.9, "a rotation keeps the ink, except in the corners"


@pytest.mark.parametrize("name", [*RENDERED, *VARIANTS])
def test_the_images_depend_on_nothing(root, tmp_path, name):
    random.seed(99)
    before = random.getstate()
    data = mini.build(name, tmp_path)
    assert random.getstate() == before
    assert mini.fingerprint(data) == mini.fingerprint(mini.build(name, root))
    for item in data.test[::20]:
        path = os.path.relpath(item.impath, tmp_path)
        assert (tmp_path / path).read_bytes() == (root / path).read_bytes()


def test_a_deleted_image_of_a_variant(root, tmp_path):
    shutil.copytree(root / "digits_noisy", tmp_path / "digits_noisy")
    next((tmp_path / "digits_noisy" / "images" / "two").iterdir()).unlink()
    facts = ("539", "540", f"Delete {tmp_path / 'digits_noisy'}")
    with raises_user_error(*facts, error=FileNotFoundError):
        mini.build("DigitsNoisy", tmp_path)


@torch.no_grad()
def zero_shot(model, data, template):
    """Returns the zero-shot accuracy in percent on every third test image."""
    preprocess = clip._transform(32)
    items = data.test[::3]
    images = torch.stack([preprocess(Image.open(d.impath)) for d in items])
    text = model.encode_text(tokenize([template.format(name) for name in data.classnames]))
    predicted = (model.encode_image(images) @ torch.nn.functional.normalize(text, dim=-1).T).argmax(dim=-1)
    return 100 * (predicted == torch.tensor([d.label for d in items])).float().mean().item()


def test_the_micro_clip_is_above_chance_on_all(root):
    model = load_clip("micro")
    accuracy = {}
    for name in ("Digits", *RENDERED, *VARIANTS):
        accuracy[name] = zero_shot(model, mini.build(name, root), catalogue.entries()[name].template)
    assert 25 < accuracy["CapitalLetters"] < 60  # chance is 4
    assert 40 < accuracy["Symbols"] < 90  # chance is 14
    for name in VARIANTS:
        assert 30 < accuracy[name] < accuracy["Digits"]  # chance is 10

"""Fixture: a folder of images of three digits, one folder per class."""

import pytest
from PIL import Image
from sklearn.datasets import load_digits

CLASSES = ("one", "three", "zero")


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """Ten images of each class: 5 train, 2 val, 3 test."""
    folder = tmp_path_factory.mktemp("own") / "images"
    digits = load_digits()
    for label, name in ((1, "one"), (3, "three"), (0, "zero")):
        (folder / name).mkdir(parents=True)
        for number, pixels in enumerate(digits.images[digits.target == label][:10]):
            Image.fromarray((pixels * 15.9).astype("uint8")).resize((32, 32)).save(folder / name / f"{number}.png")
    return folder

"""Trains CLIPFit with the embedded micro CLIP on a generated folder of images, with the command line of a user."""

import json
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw, ImageFont, ImageOps

import train
from tests.user_errors import assert_facts
from trainers.common import load_tuned
from trainers.common.inference.saved_run import make_cfg
from trainers.common.runs import record

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
GLYPHS = {"zero": "0", "one": "1", "four": "4", "seven": "7"}


@pytest.fixture
def images(tmp_path):
    """Writes four folders of 12 images: a digit in Pillow's font, randomly shifted and scaled.

    A third of them has 16 bits, and a third is turned by EXIF data.
    """
    rng = random.Random(0)
    for name, glyph in GLYPHS.items():
        folder = tmp_path / "my images" / name
        folder.mkdir(parents=True)
        for i in range(12):
            image = Image.new("L", (32, 32))
            font = ImageFont.load_default(size=rng.uniform(22, 28))
            ImageDraw.Draw(image).text((16 + rng.uniform(-2, 2), 16 + rng.uniform(-2, 2)), glyph, 255, font, "mm")
            save(image, folder / f"{i}.png", i % 3)
    return tmp_path / "my images"


def save(image, path, kind):
    exif = Image.Exif()
    if kind == 1:
        image = Image.fromarray(np.asarray(image).astype(np.uint16) * 257)
    if kind == 2:
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[0x0112] = 6  # turn by 270 degrees
    image.save(path, exif=exif)


def test_clipfit_on_own_images(images, tmp_path):
    before = sorted(images.rglob("*"))
    code = train.main(
        ["--root", str(images), "--trainer", "CLIPFit", "--seed", "1", "--output-dir", str(tmp_path / "out")]
        + ["--dataset-config-file", str(CONFIGS / "datasets" / "folder.yaml")]
        + ["--config-file", str(CONFIGS / "trainers" / "CLIPFit" / "micro_ep100.yaml"), "DATASET.NUM_SHOTS", "4"]
        + ["DATASET.TEMPLATE", "a photo of the number {}.", "OPTIM.MAX_EPOCH", "10", "USE_CUDA", "False"]
    )
    assert code == 0
    result = json.loads((tmp_path / "out" / "result.json").read_text())
    assert result["finished"] and result["metrics"]["test"]["accuracy"] > 50  # chance level is 25 %
    assert sorted(images.rglob("*")) == before
    settings = result["settings"]
    assert settings["INPUT.EXIF_ORIENTATION"] == "apply" and settings["DATASET.FOLDER.SKIP_UNREADABLE"] is False
    check_prediction(images, load_tuned(tmp_path / "out"))
    check_older_runs(settings)


def check_prediction(images, classifier):
    """A run that turns its images turns those that it classifies, whether they are files or opened."""
    stored = images / "seven" / "2.png"
    upright = ImageOps.exif_transpose(Image.open(stored))
    expected = classifier.predict(upright.convert("RGB")).logits
    for image in (stored, Image.open(stored)):
        assert torch.equal(classifier.predict(image).logits, expected)
    deep = images / "seven" / "1.png"
    words = np.asarray(Image.open(deep))
    expected = classifier.predict(np.rint(words / 257).astype(np.uint8)).logits
    for image in (deep, Image.open(deep), words, words / 65535):
        assert torch.equal(classifier.predict(image).logits, expected)


def check_older_runs(settings):
    """A run from before the keys ignored EXIF data; to resume it so is no difference, to turn its images is one."""
    older = {key: value for key, value in settings.items() if not key.endswith(("EXIF_ORIENTATION", "UNREADABLE"))}
    assert record.differences(older, {**settings, "INPUT.EXIF_ORIENTATION": "ignore"}) == []
    (difference,) = record.differences(older, settings)
    assert_facts(difference, "INPUT.EXIF_ORIENTATION", "'ignore'", "'apply'")
    state = {"settings": older, "meta": {"backbone": "micro"}}
    assert make_cfg(state).INPUT.EXIF_ORIENTATION == "ignore"


def test_an_empty_folder_is_a_one_line_error(tmp_path, capsys):
    code = train.main(
        ["--root", str(tmp_path), "--trainer", "CLIPFit", "--output-dir", str(tmp_path / "out")]
        + ["--dataset-config-file", str(CONFIGS / "datasets" / "folder.yaml")]
        + ["--config-file", str(CONFIGS / "trainers" / "CLIPFit" / "micro_ep100.yaml")]
    )
    assert code == 1
    assert_facts(capsys.readouterr().err, "error: ", tmp_path, "no images", "cat/1.jpg")

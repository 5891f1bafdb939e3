"""Trains CLIPFit with the embedded micro CLIP on a generated folder of images, with the command line of a user."""

import json
import random
from pathlib import Path

import pytest
from PIL import Image, ImageDraw, ImageFont

import train
from tests.user_errors import assert_facts

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
GLYPHS = {"zero": "0", "one": "1", "four": "4", "seven": "7"}


@pytest.fixture
def images(tmp_path):
    """Writes four folders of 12 images: a digit in Pillow's font, randomly shifted and scaled."""
    rng = random.Random(0)
    for name, glyph in GLYPHS.items():
        folder = tmp_path / "my images" / name
        folder.mkdir(parents=True)
        for i in range(12):
            image = Image.new("L", (32, 32))
            font = ImageFont.load_default(size=rng.uniform(22, 28))
            ImageDraw.Draw(image).text((16 + rng.uniform(-2, 2), 16 + rng.uniform(-2, 2)), glyph, 255, font, "mm")
            image.save(folder / f"{i}.png")
    return tmp_path / "my images"


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


def test_an_empty_folder_is_a_one_line_error(tmp_path, capsys):
    code = train.main(
        ["--root", str(tmp_path), "--trainer", "CLIPFit", "--output-dir", str(tmp_path / "out")]
        + ["--dataset-config-file", str(CONFIGS / "datasets" / "folder.yaml")]
        + ["--config-file", str(CONFIGS / "trainers" / "CLIPFit" / "micro_ep100.yaml")]
    )
    assert code == 1
    assert_facts(capsys.readouterr().err, "error: ", tmp_path, "no images", "cat/1.jpg")

"""A small EuroSAT: its images and its split file, and helpers for tests that download it."""

import json

from tests.tools.local_server import png

CLASSES = {"AnnualCrop": "Annual Crop Land", "Forest": "Forest"}
IMAGES = {f"2750/{name}/{name}_{i}.jpg": png(i) for name in CLASSES for i in range(1, 5)}


def split_file(order=1):
    rows = [[f"{name}/{name}_{i}.jpg", k, c] for k, (name, c) in enumerate(CLASSES.items()) for i in range(1, 5)]
    rows = rows[::order]
    splits = {"train": [0, 1, 4, 5], "val": [2, 6], "test": [3, 7]}
    return json.dumps({split: [rows[i] for i in numbers] for split, numbers in splits.items()}).encode()


def images(tmp_path):
    """Returns the number of EuroSAT images in the data folder."""
    return len(list((tmp_path / "data" / "eurosat" / "2750").rglob("*.jpg")))


def errors(capsys):
    """Returns the error lines of stderr, without the progress bars."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]

"""A small EuroSAT: its images, its split file, and what a test looks at after fetching it."""

import json

from tests.tools.local_server import png

CLASSES = {"AnnualCrop": "Annual Crop Land", "Forest": "Forest"}
IMAGES = {f"2750/{name}/{name}_{i}.jpg": png(i) for name in CLASSES for i in range(1, 5)}


def split_file(order=1):
    rows = [[f"{name}/{name}_{i}.jpg", k, c] for k, (name, c) in enumerate(CLASSES.items()) for i in range(1, 5)]
    rows = rows[::order]
    parts = {"train": [0, 1, 4, 5], "val": [2, 6], "test": [3, 7]}
    return json.dumps({part: [rows[i] for i in numbers] for part, numbers in parts.items()}).encode()


def images(tmp_path):
    """How many images of EuroSAT are in place."""
    return len(list((tmp_path / "data" / "eurosat" / "2750").rglob("*.jpg")))


def errors(capsys):
    """The lines of stderr but for the progress display."""
    return [line for line in capsys.readouterr().err.splitlines() if line.startswith("error: ")]

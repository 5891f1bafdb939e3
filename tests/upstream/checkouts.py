"""Checkouts of CoOp and Dassl for tests: real ones, or stand-ins for the parts that the tests need.

UPSTREAM_COOP and UPSTREAM_DASSL are the folders of real checkouts: the one with train.py, and the one with the package
`dassl`. Their requirements must be installed.
"""

import importlib.util
import json
import os
import random
import shutil
from pathlib import Path

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
STAND_IN = Path(__file__).with_name("stand_in")
COOP, DASSL = os.environ.get("UPSTREAM_COOP", ""), os.environ.get("UPSTREAM_DASSL", "")


def make_coop(folder: Path) -> Path:
    """Copies the CoOp checkout, or its stand-in, to `folder`."""
    if COOP:
        shutil.copytree(COOP, folder, ignore=shutil.ignore_patterns(".git", "output", "__pycache__"))
        return folder
    shutil.copytree(STAND_IN / "coop", folder, ignore=shutil.ignore_patterns("__pycache__"))
    write(folder / "configs" / "datasets" / "dtd.yaml", 'DATASET:\n  NAME: "DescribableTextures"\n')
    write(folder / "configs" / "trainers" / "CoOp" / "vit_b16.yaml", "OPTIM:\n  MAX_EPOCH: 200\n")
    write(folder / "scripts" / "coop" / "main.sh", "echo CoOp\n")
    # OpenAI's module. In CoOp's copy, `_download` has one argument.
    source = Path(importlib.util.find_spec("clip").origin).parent
    shutil.copytree(source, folder / "clip", ignore=shutil.ignore_patterns("__pycache__"))
    with open(folder / "clip" / "clip.py", "a") as file:
        file.write("\n\n_fetch = _download\n\n\ndef _download(url):\n    return _fetch(url, os.path.expanduser('~'))\n")
    return folder


def make_dassl(folder: Path) -> Path:
    """Returns the folder to put on the path for `import dassl`: the real checkout, or a stand-in in `folder`.

    The stand-in is the bundled Dassl with upstream's warm-up schedule and results with one decimal.
    """
    if DASSL:
        return Path(DASSL)
    shutil.copytree(ROOT / "runtime" / "dassl", folder / "dassl", ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "runtime").mkdir()  # what it imports from there
    for name in ("machine.py", "decimals.py"):
        shutil.copy(ROOT / "runtime" / name, folder / "runtime" / name)
    shutil.copy(STAND_IN / "lr_scheduler.py", folder / "dassl" / "optim" / "lr_scheduler.py")
    evaluator = folder / "dassl" / "evaluation" / "evaluator.py"
    evaluator.write_text(evaluator.read_text().replace(":.2f}%", ":.1f}%"))
    return folder


def python_path(folder) -> dict:
    """Environment variable that puts `folder` first on the PYTHONPATH."""
    return {"PYTHONPATH": os.pathsep.join(filter(None, [str(folder), os.environ.get("PYTHONPATH")]))}


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def write_textures(root: Path, images: int = 14) -> Path:
    """Creates a DATASET.ROOT with a DTD of six classes. The images are noise, so that all crops differ."""
    rng, split = np.random.default_rng(0), {"train": [], "val": [], "test": []}
    for label, name in enumerate(["banded", "blotchy", "braided", "bubbly", "bumpy", "chequered"]):
        (root / "dtd" / "images" / name).mkdir(parents=True)
        for i in range(images):
            path = f"{name}/{name}_{i:04d}.png"
            pixels = rng.integers(0, 255, (40, 48, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(root / "dtd" / "images" / path)
            split[("train", "train", "val", "test")[i % 4]].append([path, label, name])
    random.Random(0).shuffle(split["train"])
    (root / "dtd" / "split_zhou_DescribableTextures.json").write_text(json.dumps(split))
    return root

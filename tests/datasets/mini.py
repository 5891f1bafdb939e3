"""Creates miniature data folders in CoOp's layout and builds datasets on them."""

import hashlib
import json
import random
from pathlib import Path

from PIL import Image

import datasets  # noqa: F401  (fills the registry)
from dassl.config import get_cfg_default
from dassl.data.datasets import build_dataset

# What configs/datasets/*.yaml set in addition to the name of the dataset
PREPROCESSING = {"folder": {"INPUT": {"EXIF_ORIENTATION": "apply"}}, "objectnet": {"INPUT": {"CROP_BORDER": 2}}}


def make_cfg(name, root, shots=-1, seed=1, subsample="all"):
    cfg = get_cfg_default()
    cfg.DATASET.NAME, cfg.DATASET.ROOT = name, str(root)
    cfg.DATASET.NUM_SHOTS, cfg.DATASET.SUBSAMPLE_CLASSES, cfg.SEED = shots, subsample, seed
    cfg.INPUT.CROP_BORDER = 2 if name == "ObjectNet" else 0  # as objectnet.yaml
    return cfg


def build(name, root, **options):
    return build_dataset(make_cfg(name, root, **options))


def rows(data, root):
    """Returns `[path below root, label, class name]` of each Datum."""
    return [[str(Path(d.impath).relative_to(root)), d.label, d.classname] for d in data or []]


def fingerprint(data):
    """Returns a hash (16 hex digits) of the images, labels and class names; independent of the data folder."""
    splits = [rows(split, data.image_dir) for split in (data.train_x, data.val, data.test)]
    return hashlib.sha256(json.dumps(splits).encode()).hexdigest()[:16]


def write_images(folder, names):
    """Writes tiny images, each in its own colour."""
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    for i, name in enumerate(names):
        Image.new("RGB", (4, 4), (i % 256, len(name) % 256, sum(map(ord, name)) % 256)).save(folder / name, "PNG")


def write_classes(folder, counts):
    """Writes one folder per class with `counts[class]` images."""
    for name, count in counts.items():
        write_images(Path(folder) / name, [f"{name}_{i:03d}.jpg" for i in range(count)])


def split_rows(counts, prefix="", seed=0):
    """Returns the content of a split file for `write_classes`: half train, a fifth val, the rest test, shuffled."""
    splits = {"train": [], "val": [], "test": []}
    for label, (name, count) in enumerate(counts.items()):
        n_train = count // 2
        n_val = max(1, count // 5)
        for i in range(count):
            split = "train" if i < n_train else "val" if i < n_train + n_val else "test"
            splits[split].append([f"{prefix}{name}/{name}_{i:03d}.jpg", label, name])
    for split in splits.values():
        random.Random(seed).shuffle(split)
    return splits


def caltech(root, counts=None, split=True):
    """Writes a small Caltech101 to `root`; returns the content of its split file."""
    counts = counts or {"airplane": 40, "barrel": 30, "camera": 20, "dollar bill": 10, "égout": 44}
    folder = Path(root) / "caltech-101"
    write_classes(folder / "101_ObjectCategories", counts)
    splits = split_rows(counts)
    if split:
        (folder / "split_zhou_Caltech101.json").write_text(json.dumps(splits), encoding="utf-8")
    return splits

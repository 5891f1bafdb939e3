"""Splits of a dataset as CoOp keeps them: reading, writing, checking, making, and taking half of the classes.

A split file (`split_zhou_*.json`) holds `{"train": rows, "val": rows, "test": rows}` with rows
`[path relative to the image folder, label, class name]`. One that is made here has a fourth key, `made`, that
says how; CoOp ignores it.
"""

import contextlib
import glob
import json
import math
import os
import shutil
import time
from collections import defaultdict
from typing import NamedTuple

from trainers.common.runs.files import write_atomically

SUBSAMPLES = ("all", "base", "new")


class Item(NamedTuple):
    """One image: path relative to the dataset's image folder (or absolute), label from 0, class name."""

    path: str
    label: int
    classname: str


class Split(NamedTuple):
    """Lists of `Item`; `val` is empty if a dataset has no validation images."""

    train: list
    val: list
    test: list


def write_json(obj, path):
    """Write `obj` to `path` so that another process, and one after a power failure, sees the whole file or none."""
    remove_leftovers(glob.escape(str(path)) + "." + "[0-9a-f]" * 8 + ".tmp")
    try:
        write_atomically(path, json.dumps(obj, ensure_ascii=False))
    except OSError as error:
        raise error.__cause__ from None  # the remedies in `error` are for a run's output folder


def remove_leftovers(pattern, seconds=3600):
    """Remove unfinished files and folders of killed processes; younger ones may be another process's, still at work."""
    for leftover in glob.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - os.path.getmtime(leftover) > seconds:
                shutil.rmtree(leftover) if os.path.isdir(leftover) else os.remove(leftover)


def read_json(path):
    """Contents of a JSON file; ValueError naming the file if it is not JSON."""
    try:
        with open(path, encoding="utf-8") as file:
            return json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}); fetch or make it again") from None


def rows_to_items(rows, path):
    """`Item`s of one list of a split file; ValueError naming `path` and the first bad row."""
    if not isinstance(rows, list):
        raise ValueError(f"{path}: expected a list of [path, label, class name] rows, got {type(rows).__name__}")
    items = []
    for row in rows:
        try:
            impath, label, classname = row
            items.append(Item(str(impath), int(label), str(classname)))
        except (TypeError, ValueError):
            raise ValueError(f"{path}: a row must be [path, label, class name], got {row!r}") from None
    return items


def read_split(path):
    """`(Split, made)` of a split file; `made` says how it was made here, "" for one from elsewhere."""
    data = read_json(path)
    missing = [key for key in Split._fields if not isinstance(data, dict) or key not in data]
    if missing:
        raise ValueError(f"{path} is not a split file: it has no {', '.join(map(repr, missing))}")
    return Split(*(rows_to_items(data[key], path) for key in Split._fields)), str(data.get("made", ""))


def write_split(split, path, made=""):
    """Write a split file that CoOp reads too."""
    write_json({**split._asdict(), **({"made": made} if made else {})}, path)


def check_images(items, image_dir, source):
    """FileNotFoundError naming the first missing image and how many are missing.

    Lists each folder once instead of asking for each image, which is what takes long on network disks.
    """
    folders = defaultdict(list)
    for item in items:
        folders[os.path.dirname(os.path.join(image_dir, item.path))].append(item.path)
    missing = []
    for folder, paths in folders.items():
        try:
            names = set(os.listdir(folder))
        except (FileNotFoundError, NotADirectoryError):
            names = set()
        # A listing may spell names differently (case, Unicode form): ask again before calling one missing.
        missing += [
            path
            for path in paths
            if os.path.basename(path) not in names and not os.path.isfile(os.path.join(image_dir, path))
        ]
    if missing:
        raise FileNotFoundError(
            f"{source} names {len(missing):,} image(s) that are not there, the first being "
            f"{os.path.join(image_dir, missing[0])}; the data are incomplete or lie elsewhere"
        )


def check_classes(split, source):
    """ValueError if labels and class names do not make a classification task of classes 0 .. C-1."""
    if not split.train or not split.test:
        raise ValueError(f"{source} has no {'test' if split.train else 'train'} images")
    names = {}
    for item in split.train:
        if names.setdefault(item.label, item.classname) != item.classname:
            raise ValueError(f"{source}: label {item.label} is both {names[item.label]!r} and {item.classname!r}")
    gaps = sorted(set(range(len(names))) - set(names))
    if gaps:
        raise ValueError(
            f"{source}: {len(names)} classes need labels 0 to {len(names) - 1}, none in train has {gaps[0]}"
        )
    unknown = sorted({item.label for item in split.val + split.test} - set(names))
    if unknown:
        raise ValueError(f"{source}: label {unknown[0]} is in val or test but has no train image")
    labels_of = defaultdict(list)
    for label in sorted(names):
        labels_of[names[label].replace("_", " ")].append(label)  # as prompts have it
    for name, labels in labels_of.items():
        if len(labels) > 1:
            print(f"WARNING: labels {labels} are all called {name!r}, so their prompts cannot tell them apart")


def subsample_classes(split, which):
    """The split's base or new classes, relabelled from 0 (CoOp's rule).

    Of the sorted labels in train, the first ceil(C / 2) are base, the others new. `all` changes nothing.
    """
    if which not in SUBSAMPLES:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES must be one of {SUBSAMPLES}, got {which!r}")
    if which == "all":
        return split
    labels = sorted({item.label for item in split.train})
    if len(labels) < 2:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {which!r}, but there is only one class")
    print(f"SUBSAMPLE {which.upper()} CLASSES!")
    half = math.ceil(len(labels) / 2)
    selected = labels[:half] if which == "base" else labels[half:]
    new_label = {label: i for i, label in enumerate(selected)}
    part = Split(*([i._replace(label=new_label[i.label]) for i in items if i.label in new_label] for items in split))
    if not part.test:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES is {which!r}, but no test image is of these classes")
    return part


def sample_shots(items, shots, rng):
    """`shots` images per class, in CoOp's order of random calls; all images of a class that has fewer.

    Classes come in the order of their first image.
    """
    print(f"Creating a {shots}-shot dataset")
    groups = defaultdict(list)
    for item in items:
        groups[item.label].append(item)
    few = sum(len(group) < shots for group in groups.values())
    if few:
        print(f"{few} of {len(groups)} classes have fewer than {shots} images: all of theirs are taken")
    return [item for group in groups.values() for item in (rng.sample(group, shots) if len(group) >= shots else group)]

"""Splits of a dataset in CoOp's format: reads, writes and checks them, samples shots, selects base or new classes.

A split file (`split_zhou_*.json`) is `{"train": rows, "val": rows, "test": rows}` with rows
`[path relative to the image folder, label, class name]`. A split file generated here also has the key `made`, a text
that says how it was generated. CoOp ignores this key.
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

from trainers.common.classes import as_in_prompts, check_rows, whole_number
from trainers.common.runs.files import write_atomically

SUBSAMPLES = ("all", "base", "new")
MIN_CLASSES = 4  # for base-to-new: 2 base and 2 new classes, because the accuracy on a single class is always 100 %


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
    """Writes `obj` to `path` atomically: the file is complete or does not exist, even after a power failure."""
    remove_leftovers(glob.escape(str(path)) + "." + "[0-9a-f]" * 8 + ".tmp")
    try:
        write_atomically(path, json.dumps(obj, ensure_ascii=False))
    except OSError as error:
        raise error.__cause__ from None  # the outer error gives advice on the output directory of a run


def remove_leftovers(pattern, seconds=3600):
    """Removes temporary files and folders of killed processes if they are older than `seconds`.

    Newer ones may belong to a process that is still running.
    """
    for leftover in glob.glob(pattern):
        with contextlib.suppress(OSError):
            if time.time() - os.path.getmtime(leftover) > seconds:
                if os.path.isdir(leftover):
                    shutil.rmtree(leftover)
                else:
                    os.remove(leftover)


def read_json(path):
    """Returns the content of a JSON file. Raises ValueError with the path if it is not valid JSON."""
    try:
        with open(path, encoding="utf-8-sig") as file:  # with or without a byte order mark
            return json.load(file)
    except (json.JSONDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path} is not valid JSON ({error}): download or generate it again") from None


def rows_to_items(rows, path):
    """Returns the `Item`s of one list in a split file. Raises ValueError with `path` and the first invalid row."""
    if not isinstance(rows, list):
        raise ValueError(f"{path}: must have lists of [path, label, class name] rows, got {type(rows).__name__}")
    items = []
    for row in rows:
        try:
            items.append(make_item(*row))
        except (TypeError, ValueError):
            raise ValueError(
                f"{path}: a row must be [path, label, class name] with a whole number from 0 as label, got {row!r:.200}"
            ) from None
    return items


def make_item(path, label, classname):
    """Returns an `Item` of values that were read from a file. Raises TypeError or ValueError if a type is wrong."""
    if not isinstance(path, str) or not isinstance(classname, str):
        raise TypeError(f"path and class name must be texts, got {path!r} and {classname!r}")
    return Item(path, whole_number(label), classname)


def read_split(path):
    """Returns `(split, generated_by)`; `generated_by` says how the split was generated here, "" if it is published."""
    data = read_json(path)
    missing = [key for key in Split._fields if not isinstance(data, dict) or key not in data]
    if missing:
        raise ValueError(f"{path} is not a split file: missing key {', '.join(map(repr, missing))}")
    split = Split(*(rows_to_items(data[key], path) for key in Split._fields))
    return split, str(data.get("made", ""))


def write_split(split, path, generated_by=""):
    """Writes a split file, which CoOp can read."""
    content = split._asdict()
    if generated_by:
        content["made"] = generated_by
    write_json(content, path)


def check_images(items, image_dir, source):
    """Raises FileNotFoundError with the number of missing images and the first one.

    Lists each folder once, because a check of every single image is slow on network file systems.
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
        # The listing may differ from the path in case or Unicode form: check the file before reporting it as missing.
        missing += [
            path
            for path in paths
            if os.path.basename(path) not in names and not os.path.isfile(os.path.join(image_dir, path))
        ]
    if missing:
        raise FileNotFoundError(
            f"{source} lists {len(missing):,} missing image(s) (first: {os.path.join(image_dir, missing[0])}): "
            "the data are incomplete or in another folder"
        )


def check_classes(split, source, needs_test=True):
    """Raises ValueError unless the split has train and test images, and labels that `check_rows` accepts.

    Warns if a class has no test images, and if two classes have the same name. Without `needs_test`, there may be no
    test images at all.
    """
    if not split.train or (needs_test and not split.test):
        raise ValueError(f"{source}: no {'test' if split.train else 'train'} images")
    names = check_rows(split._asdict(), source)
    tested = {item.label for item in split.test}
    untested = [names[label] for label in sorted(names) if label not in tested]
    if untested and split.test:
        print(f"WARNING: no test images of {len(untested)} of {len(names)} classes (first: {untested[0]!r})")
    labels_by_name = defaultdict(list)
    for label in sorted(names):
        labels_by_name[as_in_prompts(names[label])].append(label)
    for name, labels in labels_by_name.items():
        if len(labels) > 1:
            print(f"WARNING: duplicate class name {name!r} for labels {labels}: their prompts are identical")


def check_subset(subset, n_classes):
    """Raises ValueError if DATASET.SUBSAMPLE_CLASSES is invalid or a dataset has too few classes for it."""
    if subset not in SUBSAMPLES:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES must be one of {SUBSAMPLES}, got {subset!r}")
    if subset != "all" and n_classes < MIN_CLASSES:
        raise ValueError(
            f"DATASET.SUBSAMPLE_CLASSES {subset!r} needs at least {MIN_CLASSES} classes (2 base, 2 new; accuracy on "
            f"one class is always 100 %), but the dataset has {n_classes}: set it to 'all'"
        )


def subsample_classes(split, subset, labels):
    """Returns the base or the new classes of a split, relabelled from 0 (CoOp's rule); `all` returns the split itself.

    The first ceil(C / 2) labels are the base classes, the others the new classes. With five classes, 0 1 2 are base;
    3 4 are new and become 0 1.

    Args:
        labels: the labels of all classes of the dataset, also of those without images in `split`.
    """
    if subset == "all":
        return split
    labels = sorted(labels)
    print(f"SUBSAMPLE {subset.upper()} CLASSES!")
    n_base = math.ceil(len(labels) / 2)
    selected = labels[:n_base] if subset == "base" else labels[n_base:]
    new_labels = {label: i for i, label in enumerate(selected)}
    lists = []
    for items in split:
        lists.append([item._replace(label=new_labels[item.label]) for item in items if item.label in new_labels])
    subsampled = Split(*lists)
    if not subsampled.test:
        raise ValueError(f"DATASET.SUBSAMPLE_CLASSES {subset!r}: no test images of these {len(selected)} classes")
    return subsampled


def sample_shots(items, shots, rng, part="training"):
    """Samples `shots` images per class; keeps all images of a class that has fewer.

    Calls `rng.sample` once per class, in the order of each class's first image, as CoOp does.
    """
    print(f"Creating a {shots}-shot dataset")
    groups = defaultdict(list)
    for item in items:
        groups[item.label].append(item)
    n_small = sum(len(group) < shots for group in groups.values())
    if n_small:
        few = f"{n_small} of {len(groups)} classes have fewer than {shots} {part} images"
        print(f"{few}: using all of them")
    selection = []
    for group in groups.values():
        selection += rng.sample(group, shots) if len(group) >= shots else group
    return selection

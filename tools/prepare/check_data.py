"""Checks that a dataset is complete, readable and in CoOp's layout. Each problem comes with its remedy."""

import functools
import os
from pathlib import Path
from typing import NamedTuple

import yaml

from dassl.data.datasets import DATASET_REGISTRY
from dassl.utils import check_image
from datasets import catalogue
from datasets.splits import check_classes, check_images
from datasets.unreadable import find_unreadable
from tools.prepare.duplicates import find_duplicates

COUNTED = ("classes", "train", "val", "test")
SHOWN = 3  # unreadable images in the report
ARCHIVES = ("*.zip", "*.tar", "*.tgz", "*.tar.gz")


class Report(NamedTuple):
    """The result of checking one dataset."""

    name: str
    state: str  # ok, wrong or missing
    counts: str  # e.g. "10 classes, 898 train, 359 val, 540 test"
    problems: list  # one line per problem, with its remedy
    notes: list = []  # one line per finding that published datasets have too: different files of equal content


@functools.cache
def load_layouts():
    """Returns the other known layouts of the datasets, by registry name; see layouts.yaml."""
    return yaml.safe_load(Path(__file__).with_name("layouts.yaml").read_text(encoding="utf-8"))


def check(name, root, decode=True):
    """Returns the `Report` on the dataset `name` in `root`. Writes no file, except a list of unreadable images.

    Args:
        decode: decode every image; if False, only check that the files exist.
    """
    dataset = DATASET_REGISTRY.get(name).at_root(root)
    layout = load_layouts().get(name, {})
    problems = find_misplaced(dataset, layout)
    if not os.path.isdir(dataset.image_dir):
        state = "wrong" if problems or os.path.isdir(dataset.dataset_dir) else "missing"
        return Report(name, state, "", problems or [f"missing folder {dataset.image_dir}. {dataset.remedy()}"])
    try:
        split, generated_by, source = dataset.read_split()
        check_classes(split, source)
    except (ValueError, OSError) as error:
        return Report(name, "wrong", "", [*problems, str(error)])
    duplicates, notes = find_duplicates(dataset, split, read_content=decode)
    problems += duplicates
    problems += check_split(dataset, generated_by, source)
    counts = [len({item.label for item in split.train}), *map(len, split)]
    problems += check_counts(counts, catalogue.entries()[name].counts)
    images = {item.path: item for items in split for item in items}
    try:
        check_images(images.values(), dataset.image_dir, source)
    except FileNotFoundError as error:
        problems.append(f"{error}. {dataset.remedy()}")
    else:
        if decode:
            problems += check_readable([os.path.join(dataset.image_dir, path) for path in images], name)
    counts_text = ", ".join(f"{count:,} {noun}" for count, noun in zip(counts, COUNTED, strict=True))
    return Report(name, "wrong" if problems else "ok", counts_text, problems, notes)


def find_misplaced(dataset, layout):
    """Returns one line per image folder of another layout and per archive that is not unpacked."""
    problems = []
    folder = Path(dataset.dataset_dir)
    for pattern in layout.get("wrong", []):
        match = next(folder.glob(pattern["pattern"]), None) if folder.is_dir() else None
        if match:
            problems.append(f"{match}: {pattern['remedy']}")
    if os.path.isdir(dataset.image_dir) and dataset.image_dir != dataset.dataset_dir:
        return problems
    for path in layout.get("elsewhere", []):
        path = os.path.join(dataset.root, path)
        if os.path.isdir(path):
            mkdir = f"mkdir -p '{os.path.dirname(dataset.image_dir)}'"
            problems.append(f"the images are in {path}: {mkdir} && mv '{path}' '{dataset.image_dir}'")
    for pattern in ARCHIVES:
        problems += [f"{path}: unpack this archive" for path in folder.glob(pattern)]
    return problems


def check_split(dataset, generated_by, source):
    """Returns the problem, if any, that makes results on this split incomparable with published results."""
    if not dataset.split_path or dataset.default_root:
        return []
    name = os.path.basename(dataset.split_path)
    if source != dataset.split_path:
        return [f"missing split file {name}: training would generate another split. {dataset.remedy()}"]
    if generated_by:
        return [f"{name} is not CoOp's split; it was generated here: {generated_by}. {dataset.remedy()}"]
    return []


def check_counts(counts, expected):
    """Compares the numbers of classes and images with the published ones; `expected` may be empty or have None."""
    differences = []
    for count, noun, published in zip(counts, COUNTED, expected, strict=False):
        if published is not None and count != published:
            differences.append(f"{count:,} {noun} instead of {published:,}")
    if not differences:
        return []
    return [f"{', '.join(differences)}: the data or the split are incomplete or another version"]


def check_readable(paths, name):
    """Returns a list with one line if images cannot be read, else []. Writes all of them to a file.

    The file, in the current folder, has the path and the reason of one image per line, separated by a tab.
    """
    unreadable = find_unreadable(paths, check_image)
    if not unreadable:
        return []
    file = f"unreadable_{name}.txt"
    try:
        Path(file).write_text("".join(f"{path}\t{why}\n" for path, why in unreadable.items()), encoding="utf-8")
        listed = f"all are in {file}"
    except OSError as error:
        listed = f"{file} cannot be written ({error.strerror})"
    remedy = "restore or remove them"
    if name == "Folder":
        remedy += ", or train with DATASET.FOLDER.SKIP_UNREADABLE True"
    first = "; ".join(list(unreadable.values())[:SHOWN])
    return [f"{len(unreadable):,} unreadable image(s), {listed}: {remedy} (first: {first})"]

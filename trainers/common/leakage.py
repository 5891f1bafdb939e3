"""Finds images that occur more than once: in train and test, twice in test, or with two labels."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Hashable, Iterable
from itertools import combinations
from typing import NamedTuple

from .classes import PARTS, dataset_rows


class Overlap(NamedTuple):
    """Images that occur more than once in one way.

    Attributes:
        by: "path" or "content".
        parts: the two parts of the split, e.g. ("train", "test"); () for images with two labels.
        count: number of images: paths, or contents of files.
        first: paths of the first pair.
    """

    by: str
    parts: tuple[str, ...]
    count: int
    first: tuple[str, str]

    def __str__(self) -> str:
        if not self.parts:
            where = "have two labels"
        elif self.parts[0] == self.parts[1]:
            where = f"occur more than once in {self.parts[0]}"
        else:
            where = f"are in {self.parts[0]} and in {self.parts[1]}"
        same = "" if self.by == "path" else " of equal content"
        return f"{self.count:,} image(s){same} {where} (first: {' and '.join(dict.fromkeys(self.first))})"


def find(parts: dict[str, Iterable[tuple[str, int, Hashable]]]) -> list[Overlap]:
    """Returns how images occur more than once: in two parts, several times in test, with two labels.

    Args:
        parts: (path, label, content) of the images of train, val and test. `content` is equal for files of equal
            content, such as a digest; None if it is unknown.
    """
    rows = [
        (part, os.path.normpath(path), label, content)
        for part in PARTS
        for path, label, content in parts.get(part) or ()
    ]
    overlaps = []
    for by, column in (("path", 1), ("content", 3)):
        known = [row for row in rows if row[column] is not None]
        counts = Counter(row[column] for row in known)
        images = {}  # path or content -> rows of an image that occurs more than once
        for row in known:
            if counts[row[column]] > 1:
                images.setdefault(row[column], []).append(row)
        pairs = {}  # parts -> one pair of paths per image
        for image in images.values():
            for kind, pair in _kinds(image, by).items():
                pairs.setdefault(kind, []).append(pair)
        overlaps += [Overlap(by, kind, len(found), found[0]) for kind, found in pairs.items()]
    return overlaps


def _kinds(image: list[tuple], by: str) -> dict[tuple, tuple[str, str]]:
    """Returns the kinds of overlap of one image, given all of its rows: `Overlap.parts` -> the first pair of paths."""
    kinds = {}
    for (part, path, label, _), (other_part, other_path, other_label, _) in combinations(_typical(image, by), 2):
        if by == "content" and path == other_path:
            continue  # found by its path
        if part != other_part or part == "test":
            kinds.setdefault((part, other_part), (path, other_path))
        if label != other_label:
            kinds.setdefault((), (path, other_path))
    return kinds


def _typical(image: list[tuple], by: str) -> list[tuple]:
    """Returns two rows per part and one per label, which have all kinds of overlap of an image with many rows."""
    rows = []
    for row in image:
        part, _, label, _ = row
        if by == "content" and row in rows:
            continue
        if sum(other[0] == part for other in rows) < 2 or all(other[2] != label for other in rows):
            rows.append(row)
    return rows


def check_run(dataset, source: str, selects_on_val: bool, keys: Callable[[str], list[Hashable]] | None = None) -> None:
    """Checks the images of a training run. Prints overlaps that do not affect the accuracy on test images.

    Args:
        dataset: Dassl's dataset.
        source: its name, for the messages.
        selects_on_val: whether the run selects its best epoch on the validation images.
        keys: see `equal_content`; None: compare only the paths, not the content.

    Raises:
        ValueError: an image is in train and test, or in val and test if the run selects on val.
    """
    rows = dataset_rows(dataset)
    overlaps = find({part: [(path, label, None) for path, label, _ in part_rows] for part, part_rows in rows.items()})
    if keys:
        overlaps += equal_content(dataset, keys)
    for overlap in overlaps:
        allow = "" if overlap.by == "path" else ", or set DATASET.FOLDER.ALLOW_DUPLICATES True"
        if overlap.parts == ("train", "test"):
            raise ValueError(
                f"{source}: {overlap}: test images must not be trained on, remove them from train or test{allow}"
            )
        if overlap.parts == ("val", "test") and selects_on_val:
            raise ValueError(
                f"{source}: {overlap}: the best epoch must not be selected on test images, remove them from val or "
                f"test, or set TEST.FINAL_MODEL last_step{allow}"
            )
        print(f"WARNING: {source}: {overlap}")


def equal_content(dataset, keys: Callable[[str], list[Hashable]]) -> list[Overlap]:
    """Returns the overlaps of different files of equal content. Several published datasets have some.

    Args:
        dataset: Dassl's dataset.
        keys: returns one key per image of `train_x`, `val` or `test`; see `runs.image_hashes.ImageHashes.keys`.
    """
    parts = {}
    for part, rows in dataset_rows(dataset).items():
        contents = keys("train_x" if part == "train" else part)
        parts[part] = [(path, label, content) for (path, label, _), content in zip(rows, contents)]
    return [overlap for overlap in find(parts) if overlap.by == "content"]

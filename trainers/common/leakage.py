"""Finds images that occur more than once: in train and test, twice in test, or with two labels."""

from __future__ import annotations

import os
from collections.abc import Hashable, Iterable
from typing import NamedTuple

from .classes import PARTS, dataset_rows


class Overlap(NamedTuple):
    """Images that occur more than once in one way.

    Attributes:
        by: "path" or "content".
        parts: the two parts of the split, e.g. ("train", "test"); () for images with two labels.
        count: number of images.
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
    by_path = _repeats((path, part, path, label) for part, path, label, _ in rows)
    by_content = _repeats((content, part, path, label) for part, path, label, content in rows if content is not None)
    by_content = [(first, other) for first, other in by_content if first[1] != other[1]]  # the others are in `by_path`
    return _overlaps("path", by_path) + _overlaps("content", by_content)


def _repeats(rows) -> list[tuple]:
    """Returns the pairs (first, other) of (part, path, label) of rows (key, part, path, label) with equal keys."""
    first_of = {}
    pairs = []
    for key, *row in rows:
        first = first_of.setdefault(key, row)
        if first is not row:
            pairs.append((first, row))
    return pairs


def _overlaps(by: str, pairs: list[tuple]) -> list[Overlap]:
    groups = {}
    for (first_part, first_path, first_label), (part, path, label) in pairs:
        kinds = [(first_part, part)] if first_part != part or part == "test" else []
        kinds += [()] if first_label != label else []
        for kind in kinds:
            groups.setdefault(kind, []).append((first_path, path))
    return [Overlap(by, kind, len(found), found[0]) for kind, found in groups.items()]


def check_run(dataset, source: str, selects_on_val: bool) -> None:
    """Checks the paths of the images of a training run. Prints overlaps that do not affect the accuracy on test images.

    Args:
        dataset: Dassl's dataset.
        source: its name, for the messages.
        selects_on_val: whether the run selects its best epoch on the validation images.

    Raises:
        ValueError: an image is in train and test, or in val and test if the run selects on val.
    """
    parts = dataset_rows(dataset)
    for overlap in find({part: [(path, label, None) for path, label, _ in rows] for part, rows in parts.items()}):
        if overlap.parts == ("train", "test"):
            raise ValueError(f"{source}: {overlap}: test images must not be trained on, remove them from train or test")
        if overlap.parts == ("val", "test") and selects_on_val:
            raise ValueError(
                f"{source}: {overlap}: the best epoch must not be selected on test images, remove them from val or "
                "test, or set TEST.FINAL_MODEL last_step"
            )
        print(f"WARNING: {source}: {overlap}")

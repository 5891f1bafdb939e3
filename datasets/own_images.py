"""Finds a user's own images: in folders of any depth, for training and for prediction alike.

Images are files with an ending in IMAGE_SUFFIXES. Hidden files and folders (`.DS_Store`, `._1.jpg`), `__MACOSX` and
links to folders inside a folder are skipped. What else is left out is counted, so that it can be reported.
"""

import os
from collections import Counter
from typing import NamedTuple

from .image_folders import IMAGE_SUFFIXES, OPTIONAL, list_folders, list_images, suffix_of

NO_IMAGES = "__MACOSX"  # what macOS adds to archives


class Found(NamedTuple):
    """Images below a folder: sorted relative paths with "/", and the number of other files by kind."""

    paths: list
    left_out: Counter


def find_images(folder) -> Found:
    """Returns the images in `folder` and in the folders below it."""
    found = Found([], Counter())
    _search(os.fspath(folder), "", found)
    found.paths.sort(key=lambda path: path.split("/"))
    return found


def _search(folder: str, prefix: str, found: Found) -> None:
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.name.startswith(".") or entry.name == NO_IMAGES:
                continue
            if entry.is_dir(follow_symlinks=False):
                _search(entry.path, f"{prefix}{entry.name}/", found)
            elif entry.is_symlink() and not os.path.isfile(entry.path):  # to a folder, to nothing or to itself
                found.left_out["links to folders"] += os.path.isdir(entry.path)
            elif entry.name.lower().endswith(IMAGE_SUFFIXES):
                found.paths.append(prefix + entry.name)
            else:
                found.left_out[suffix_of(entry.name) or "files without an ending"] += 1


def describe(left_out: Counter) -> str:
    """Returns "left out: 12 .txt, 3 .heic (pip install pillow-heif)"; "" if nothing was."""
    kinds = [
        f"{count:,} {kind}" + (f" ({OPTIONAL[kind].remedy})" if kind in OPTIONAL else "")
        for kind, count in sorted(left_out.items(), key=lambda item: (-item[1], item[0]))
        if count
    ]
    return f"left out: {', '.join(kinds)}" if kinds else ""


def class_folders(root, parent="") -> list:
    """Returns the sorted names of the folders in `parent`, a folder below `root`, that may be classes."""
    return [name for name in list_folders(os.path.join(root, parent)) if name != NO_IMAGES]


def unwrap(root) -> str:
    """Returns the folder below `root` that holds the data: "" or, if `root` holds only one folder of folders, that one.

    IMAGES/pets/cat/1.jpg, IMAGES/pets/dog/1.jpg -> "pets": an archive was unpacked into its own folder.
    """
    parent = ""
    for _ in range(3):  # deep enough for archives, and an end for links that form a circle
        folders = class_folders(root, parent)
        if len(folders) != 1 or list_images(os.path.join(root, parent)):
            break
        inner = os.path.join(parent, folders[0])
        if list_images(os.path.join(root, inner)) or not class_folders(root, inner):
            break
        parent = inner
    return parent


SPLIT_NAMES = {"train": ("train", "training"), "val": ("val", "valid", "validation"), "test": ("test", "testing")}


def split_of(name: str) -> str:
    """Returns the split that a folder or the part of a list stands for, in any case: "Training" -> "train"; else ""."""
    return next((split for split, names in SPLIT_NAMES.items() if name.strip().lower() in names), "")


def split_folders(folders) -> dict:
    """Returns the folder of each split: {"train": "Training", "test": "Test"}; {} if these are not splits.

    Without a test folder, val is the test set. Raises ValueError if two folders stand for one split.
    """
    by_split = {}
    for folder in folders:
        split = split_of(folder)
        if split:
            by_split.setdefault(split, []).append(folder)
    if "train" not in by_split or len(by_split) < 2:
        return {}
    for split, names in by_split.items():
        if len(names) > 1:
            raise ValueError(
                f"the folders {' and '.join(map(repr, names))} both stand for {split}: rename or merge them"
            )
    chosen = {split: names[0] for split, names in by_split.items()}
    if "test" not in chosen:
        chosen["test"] = chosen.pop("val")
    return chosen

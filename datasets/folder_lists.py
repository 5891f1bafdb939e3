"""Reads lists of images and of class names, in CSV (UTF-8, comma-separated) or JSON.

A list of images has rows `path, class` or `path, class, part`, where the part is train, val or test. A CSV file may
start with the header `path,class` or `path,class,part`. CoOp's split files are read, too.

A list of class names has rows `folder, name`. In JSON it may also be an object `{"folder": "name"}`.
"""

import csv
import os

from .splits import Split, read_json, rows_to_items

HEADERS = (["path", "class"], ["path", "class", "part"])


def read_rows(path):
    """Returns the rows of a CSV or JSON file. Raises FileNotFoundError or ValueError with its path."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"missing file {path}")
    if path.lower().endswith(".json"):
        return read_json(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} must be JSON or CSV in UTF-8 ({error})") from None


def read_names(path):
    """Returns a dict from folder to class name."""
    rows = read_rows(path)
    try:
        names = {str(folder): str(name) for folder, name in dict(rows).items()}
    except (TypeError, ValueError):
        raise ValueError(f"{path}: a row must be [folder, class name]") from None
    empty = [folder for folder, name in names.items() if not name.strip()]
    if empty:
        raise ValueError(f"{path}: empty class name for folder {empty[0]!r}")
    return names


def read_list(path):
    """Returns `(image path, class)` rows by split: `train`, `test` and maybe `val`, or `all` without a part column.

    The row `cat/1.jpg,cat,train` becomes `{"train": [("cat/1.jpg", "cat")]}`; `cat/1.jpg,cat` becomes `{"all": [...]}`.
    """
    rows = read_rows(path)
    if isinstance(rows, dict):  # a split file of CoOp: [path, label, class name] rows by split
        items = {split: rows_to_items(rows.get(split, []), path) for split in Split._fields}
        rows = [(item.path, item.classname, split) for split in items for item in items[split]]
    if rows and isinstance(rows[0], list) and [str(cell).lower() for cell in rows[0]] in HEADERS:
        rows = rows[1:]
    images_by_split = {}
    known_images = set()
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) not in (2, 3) or not all(map(str, row)):
            raise ValueError(f"{path}: a row must be [path, class] or [path, class, part], got {row!r}")
        image, name, split = map(str, (*row, "all")[:3])
        if split not in ("all", *Split._fields):
            raise ValueError(f"{path}: the part of {image} must be train, val or test, got {split!r}")
        if image in known_images:
            raise ValueError(f"{path}: duplicate image {image}")
        known_images.add(image)
        images_by_split.setdefault(split, []).append((image, name))
    splits = set(images_by_split)
    if splits != {"all"} and not {"train", "test"} <= splits <= set(Split._fields):
        raise ValueError(f"{path} must have the parts train and test, or no part column; got {sorted(splits)}")
    return images_by_split

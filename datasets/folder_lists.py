"""Lists of images and of class names, in CSV (UTF-8, comma) or JSON.

Images: rows `path, class` or `path, class, part`, where part is train, val or test; in a CSV a first row
`path,class` or `path,class,part` may head them. Or a split file of CoOp's.
Class names: rows `folder, name`, or in JSON an object `{"folder": "name"}`.
"""

import csv
import os

from .splits import Split, read_json, rows_to_items

HEADERS = (["path", "class"], ["path", "class", "part"])


def read_rows(path):
    """Rows of a CSV or JSON file. FileNotFoundError or ValueError naming it."""
    if not os.path.isfile(path):
        raise FileNotFoundError(f"there is no file {path}")
    if path.lower().endswith(".json"):
        return read_json(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            return [[cell.strip() for cell in row] for row in csv.reader(file) if any(row)]
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} is neither JSON nor CSV in UTF-8 ({error})") from None


def read_names(path):
    """Dict from folder to class name."""
    rows = read_rows(path)
    try:
        names = {str(folder): str(name) for folder, name in (rows.items() if isinstance(rows, dict) else rows)}
    except (TypeError, ValueError):
        raise ValueError(f"{path}: rows must be a folder and its class name") from None
    empty = [folder for folder, name in names.items() if not name.strip()]
    if empty:
        raise ValueError(f"{path} gives {empty[0]!r} an empty class name")
    return names


def read_list(path):
    """`(image path, class)` rows by part: `train`, `test` and maybe `val`, or `all` if no part is given."""
    rows = read_rows(path)
    if isinstance(rows, dict):  # CoOp's: class is the third column
        items = {part: rows_to_items(rows.get(part, []), path) for part in Split._fields}
        rows = [(item.path, item.classname, part) for part in items for item in items[part]]
    if rows and isinstance(rows[0], list) and [str(cell).lower() for cell in rows[0]] in HEADERS:
        rows = rows[1:]
    parts, seen = {}, set()
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) not in (2, 3) or not all(map(str, row)):
            raise ValueError(f"{path}: a row must be path, class or path, class, part, got {row!r}")
        image, name, part = map(str, (*row, "all")[:3])
        if part not in ("all", *Split._fields):
            raise ValueError(f"{path}: the part of {image} must be train, val or test, got {part!r}")
        if image in seen:
            raise ValueError(f"{path}: duplicate image {image}")
        seen.add(image)
        parts.setdefault(part, []).append((image, name))
    if set(parts) != {"all"} and not {"train", "test"} <= set(parts) <= set(Split._fields):
        raise ValueError(f"{path} must have images for train and test, or no parts at all; it has {sorted(parts)}")
    return parts

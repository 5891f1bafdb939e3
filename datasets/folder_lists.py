"""Reads lists of images and of class names, in CSV or JSON (UTF-8).

A list of images has rows `path, class` or `path, class, part`, where the part is train, val or test. CoOp's split files
are read, too. A list of class names has rows `folder, name`; in JSON it may also be an object `{"folder": "name"}`.

The columns of a CSV file are separated by commas, semicolons or tabs. Its first line may be a header, such as
`path,class`, `filename;label` or `label,image`: the names in COLUMNS, in any order. Paths may have back slashes.
"""

import csv
import io
import math
import os

from .own_images import split_of
from .splits import Split, read_json, rows_to_items

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}
COLUMNS = {
    "path": "path image images image_path img file files filename file_name file_path filepath image_id",
    "class": "class classname class_name label labels label_name category target name",
    "part": "part split set subset partition fold",
}
ROLES = {name: role for role, names in COLUMNS.items() for name in names.split()}
NAME_HEADERS = (["folder", "name"], ["folder", "class"], ["folder", "classname"], ["folder", "class_name"])


def read_rows(path):
    """Returns the rows of a CSV or JSON file. Raises FileNotFoundError or ValueError with its path."""
    if path.lower().endswith(".json") and os.path.isfile(path):
        return read_json(path)
    tables = read_tables(path)

    def is_header(row):
        return words(row) in NAME_HEADERS or columns(row)

    return choose_table(tables, path, is_header, ("path", "class")) or tables[","]


def read_tables(path):
    """Returns the rows of a text file in UTF-8 for each of DELIMITERS.

    Raises:
        FileNotFoundError, ValueError: the file is missing or is no CSV file; the message names it.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"missing file {path}")
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            text = file.read()
        return {delimiter: split_rows(text, delimiter) for delimiter in DELIMITERS}
    except (UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{path} must be JSON or CSV in UTF-8 ({error})") from None


def split_rows(text, delimiter):
    """Returns the rows of a CSV text, without empty ones."""
    rows = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter)
    return [[cell.strip() for cell in row] for row in rows if any(cell.strip() for cell in row)]


def choose_table(tables, path, is_header, example):
    """Returns the rows by the delimiter for which all rows have two or three cells; [] if there is none.

    If several have, a header decides.

    Args:
        tables: rows by delimiter.
        is_header: whether a row is a header.
        example: the names in a header, for the error.
    """
    fitting = {key: rows for key, rows in tables.items() if rows and all(len(row) in (2, 3) for row in rows)}
    with_header = {key: rows for key, rows in fitting.items() if is_header(rows[0])}
    fitting = with_header or fitting
    if len(fitting) > 1:
        names = " and by ".join(DELIMITERS[key] for key in fitting)
        raise ValueError(
            f"{path} can be split by {names}: put the header {','.join(example)} (or {';'.join(example)}) in the first "
            "line"
        )
    return next(iter(fitting.values()), [])


def words(row):
    """Returns the cells of a row as in COLUMNS: "File Name" -> "file_name"."""
    return [str(cell).strip().lower().replace(" ", "_").replace("-", "_") for cell in row]


def columns(row, roles=ROLES, content="class"):
    """Returns the places of path, class and part in the header of a list of images; [] if the row is no header.

    `["label", "image"]` -> [1, 0]

    Args:
        roles: name of a column -> "path", "part" or `content`.
        content: what the list says of an image.
    """
    own = [roles.get(word, "") for word in words(row)]
    order = ("path", content, "part")
    if sorted(own) not in (sorted(order[:2]), sorted(order)):
        return []
    return [own.index(role) for role in order if role in own]


def read_names(path):
    """Returns a dict from folder to class name."""
    rows = read_rows(path)
    if isinstance(rows, list) and rows and isinstance(rows[0], list) and words(rows[0]) in NAME_HEADERS:
        rows = rows[1:]
    try:
        names = {str(folder): str(name) for folder, name in dict(rows).items()}
    except (TypeError, ValueError):
        raise ValueError(f"{path}: a row must be [folder, class name]") from None
    empty = [folder for folder, name in names.items() if not name.strip()]
    if empty:
        raise ValueError(f"{path}: empty class name for folder {empty[0]!r}")
    return names


def read_list(path, root, needs_test=True):
    """Returns `(image path, class)` rows by split: `train`, `test` and maybe `val`, or `all` without a part column.

    The row `cat/1.jpg,cat,train` becomes `{"train": [("cat/1.jpg", "cat")]}`; `cat/1.jpg,cat` becomes `{"all": [...]}`.
    The paths are relative to the folder `root`. `needs_test` says whether there must be test images.
    """
    images_by_split = {}
    known_images = set()
    for row in image_rows(read_rows(path), path):
        image, name, split = (*row, "all")[:3]
        image = with_slashes(image, root)
        if split != "all" and not split_of(split):
            raise ValueError(f"{path}: the part of {image} must be train, val or test, got {split!r}")
        if image in known_images:
            raise ValueError(f"{path}: duplicate image {image}")
        known_images.add(image)
        images_by_split.setdefault(split_of(split) or "all", []).append((image, name))
    splits = set(images_by_split)
    needed = {"train", "test"} if needs_test else {"train"}
    if splits != {"all"} and not needed <= splits <= set(Split._fields):
        hint = " (a run without test images sets TEST.NO_TEST True)" if "test" in needed - splits else ""
        raise ValueError(f"{path} must have the parts train and test, or no part column; got {sorted(splits)}{hint}")
    return images_by_split


def image_rows(rows, path):
    """Yields the rows of a list of images as texts [path, class] or [path, class, part], in this order."""
    if isinstance(rows, dict):  # a split file of CoOp: [path, label, class name] rows by split
        items = {split: rows_to_items(rows.get(split, []), path) for split in Split._fields}
        rows = [(item.path, item.classname, split) for split in items for item in items[split]]
    order = columns(rows[0]) if rows and isinstance(rows[0], list) else []
    if order:
        rows = rows[1:]
    for row in rows:
        if not isinstance(row, (list, tuple)) or len(row) not in (2, 3) or not all(map(is_text, row)):
            raise ValueError(f"{path}: a row must be [path, class] or [path, class, part], got {row!r}")
        yield [str(row[i]) for i in order or range(len(row)) if i < len(row)]


def is_text(cell):
    """Whether a cell is a text or a number that can name a class. `Infinity` in JSON cannot."""
    if isinstance(cell, float):
        return math.isfinite(cell)
    return isinstance(cell, (str, int)) and str(cell) != ""


def with_slashes(image, root):
    """Returns a path with "/" for "\\", as Windows writes it, unless a file has that name."""
    if "\\" not in image or os.path.exists(os.path.join(root, image)):
        return image
    return image.replace("\\", "/")

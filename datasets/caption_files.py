"""Reads files of images and their captions.

- Karpathy's JSON files, `dataset_flickr30k.json`, `dataset_flickr8k.json`, `dataset_coco.json`: a list "images" with
  "filename", "filepath" (of COCO: val2014), "split" and "sentences".
- CSV in UTF-8: a row `image,caption` or `image,caption,split` per caption, several per image. Columns may be separated
  by commas, semicolons or tabs; a header may name them in any order (CAPTION_COLUMNS). A caption with the separator
  needs quotes.
- The text files of CLIP_benchmark: the header `image,caption`, then captions with commas and without quotes.
"""

import os
import re
from typing import NamedTuple

from trainers.common.classes import check_text

from .folder_lists import COLUMNS, choose_table, columns, read_tables, with_slashes
from .own_images import split_of
from .splits import read_json

CAPTION_COLUMNS = {
    "path": COLUMNS["path"] + " image_name",
    "caption": "caption captions text texts sentence description title comment",
    "part": COLUMNS["part"],
}
ROLES = {name: role for role, names in CAPTION_COLUMNS.items() for name in names.split()}
HEADER = ("image", "caption")
SURROGATE = re.compile("[\ud800-\udfff]")  # half a character, which JSON can have and no tokenizer can read
UNSPLIT = "all"  # the only split of a file that has none


class Row(NamedTuple):
    """An image and its captions, or some of them. `image` is relative to the folder of the images, without "./"."""

    image: str
    captions: list[str]
    split: str  # train, val, test, or UNSPLIT


def read_rows(path: str) -> list[Row]:
    """Returns the rows of a JSON or CSV file.

    Raises:
        FileNotFoundError: it is missing.
        ValueError: it is invalid. The message names the file, and the row or the image.
    """
    if not os.path.isfile(path):
        raise FileNotFoundError(f"missing file {path}: give a JSON or CSV file with captions, or glyph_captions")
    if path.lower().endswith(".json"):
        return [karpathy_row(entry, path) for entry in karpathy_entries(path)]
    return csv_rows(path)


def karpathy_entries(path: str) -> list:
    """Returns the list "images" of a JSON file."""
    data = read_json(path)
    entries = data.get("images") if isinstance(data, dict) else None
    if not isinstance(entries, list):
        raise ValueError(
            f'{path} must be one of Karpathy\'s files, with a list "images": write other captions as a CSV file '
            "image,caption"
        )
    return entries


def karpathy_row(entry, path: str) -> Row:
    """Returns the row of an entry of Karpathy's "images"."""
    try:
        image = "/".join(filter(None, (entry.get("filepath", ""), entry["filename"])))
        captions = [sentence["raw"] for sentence in entry["sentences"]]
        split = split_name(entry["split"])
    except (AttributeError, KeyError, TypeError):
        raise ValueError(
            f"{path}: an image must have filename, split, and sentences with raw, got {entry!r:.200}"
        ) from None
    return checked(image, captions, split, path, entry["split"])


def csv_rows(path: str) -> list[Row]:
    """Returns the rows of a CSV file, one per caption."""
    tables = read_tables(path)
    table = choose_table(tables, path, caption_columns, HEADER) or tables[","]
    if not is_regular(table):
        table = unquoted_table(path) or table
    order = caption_columns(table[0]) if table else []
    folder = os.path.dirname(os.path.abspath(path))
    rows = []
    for cells in table[1:] if order else table:
        if len(cells) not in widths(order):
            raise ValueError(
                f"{path}: a row must be image,caption or image,caption,split, got {cells!r:.200}: put captions with "
                "commas in quotes"
            )
        image, caption, *given = (cells[i] for i in order or range(len(cells)))
        split = split_name(given[0]) if given else UNSPLIT
        rows.append(checked(with_slashes(image, folder), [caption], split, path, given))
    splits = {row.split for row in rows}
    if UNSPLIT in splits and len(splits) > 1:
        raise ValueError(f"{path}: some rows have a split and some have none: give all of them one")
    return rows


def widths(order: list) -> tuple:
    """Returns the allowed numbers of cells in a row, given the columns of the header."""
    return (len(order),) if order else (2, 3)


def is_regular(table: list) -> bool:
    """Whether all rows have an allowed number of cells."""
    return bool(table) and all(len(row) in widths(caption_columns(table[0])) for row in table)


def caption_columns(row: list) -> list:
    """Returns the places of image, caption and split in a header; [] if the row is no header."""
    return columns(row, ROLES, "caption")


def unquoted_table(path: str) -> list:
    """Returns the rows of a file with the header `image,caption` and captions with commas and without quotes; else [].

    What follows the first comma of a line is the caption.
    """
    with open(path, encoding="utf-8-sig") as file:
        lines = [line.strip() for line in file if line.strip()]
    table = [line.split(",", 1) for line in lines]
    is_quoted = any(len(row) == 2 and row[1][:1] == row[1][-1:] == '"' for row in table)
    if is_quoted or not table or caption_columns(table[0]) != [0, 1] or any(len(row) != 2 for row in table):
        return []
    print(f"Note: the captions in {path} have no quotes: what follows the first comma of a line is read as the caption")
    return [[cell.strip() for cell in row] for row in table]


def split_name(split) -> str:
    """Returns "train", "val" or "test"; "" for another value. Karpathy's "restval" is further training images."""
    return "train" if split == "restval" else split_of(str(split))


def checked(image, captions, split: str, path: str, given) -> Row:
    """Returns the row of an image. Raises ValueError if a value is no text, empty or unknown."""
    check_text(image, "image path", path)
    if not image:
        raise ValueError(f"{path}: empty image path for the caption {captions[:1]!r:.200}")
    if not split:
        raise ValueError(f"{path}: the split of {image} must be train, restval, val or test, got {given!r}")
    for caption in captions:
        if not isinstance(caption, str) or not caption.strip() or SURROGATE.search(caption):
            raise ValueError(
                f"{path}: a caption of {image} must be a Unicode text that is not empty, got {caption!r:.200}"
            )
    return Row(os.path.normpath(image), [caption.strip() for caption in captions], split)

"""Formats of the predictions of tools/predict.py: text, CSV, JSON.

The text has class names as prompts have them; CSV and JSON have those of the run, to be compared with labels.
"""

import csv
import io
import json
from dataclasses import dataclass

from tools.records import printable
from trainers.common.classes import as_in_prompts


@dataclass(frozen=True)
class Row:
    """The prediction for an image.

    Attributes:
        classes: names and probabilities of the most probable classes, in descending order.
        set: names in the prediction set; None without --conformal.
    """

    path: str
    classes: list[tuple[str, float]]
    set: list[str] | None = None


def as_csv(rows: list[Row]) -> str:
    """Returns a line per image. The prediction set is a JSON list, since a class name may contain any separator."""
    top = len(rows[0].classes) if rows else 1
    header = ["image", "class", "probability"]
    for rank in range(2, top + 1):
        header += [f"class_{rank}", f"probability_{rank}"]
    has_sets = any(row.set is not None for row in rows)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header + ["set_size", "set"] * has_sets)
    for row in rows:
        cells = [row.path]
        for name, probability in row.classes:
            cells += [name, f"{probability:.6f}"]
        if has_sets:
            cells += [len(row.set), json.dumps(row.set, ensure_ascii=False)]
        writer.writerow(cells)
    return text.getvalue()


def as_json(rows: list[Row]) -> str:
    items = []
    for row in rows:
        item = {"image": row.path, "classes": [{"name": name, "probability": p} for name, p in row.classes]}
        items.append(item if row.set is None else {**item, "set": row.set})
    return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]\n"


def as_text(rows: list[Row]) -> str:
    """Returns one line per class for a single image, or one line per image."""
    if len(rows) == 1:
        (row,) = rows
        lines = [printable(row.path)] + [f"{100 * p:7.2f}%  {as_in_prompts(name)}" for name, p in row.classes]
        lines += [] if row.set is None else [f"set: {set_text(row.set)}"]
    else:
        lines = []
        for row in rows:
            classes = ", ".join(f"{as_in_prompts(name)} {100 * p:.2f}%" for name, p in row.classes)
            lines.append(f"{printable(row.path)}  {classes}" + ("" if row.set is None else f"  {set_text(row.set)}"))
    return "\n".join(lines) + "\n"


def set_text(names: list[str]) -> str:
    return "{" + ", ".join(map(as_in_prompts, names)) + "}"

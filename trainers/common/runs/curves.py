"""The curves of a training, `curves.jsonl` in the run directory: a line per epoch, for those who have no TensorBoard.

A line holds the last value of each scalar that the trainer wrote in the epoch, under TensorBoard's names. Dassl writes
running means, so these are the means over the epoch, except for the learning rate:

    {"epoch": 1, "train/loss": 2.31, "train/acc": 12.5, "train/lr": 0.002, "val/accuracy": 81.0}
"""

from __future__ import annotations

import json
import math
import os

from .files import explain_write_error, write_atomically
from .log_lines import read_text

FILE = "curves.jsonl"


def begin(folder: str, resumed: str, epochs: int) -> None:
    """Starts the file of a training whose first `epochs` epochs were trained before, in `folder` or in `resumed`.

    The lines of these epochs are kept, those of later ones are removed.
    """
    path = os.path.join(folder, FILE)
    rows = (read(folder) or read(resumed)) if epochs else []
    kept = [row for row in rows if row["epoch"] <= epochs]
    if kept:
        write_atomically(path, "".join(f"{json.dumps(row)}\n" for row in kept))
    elif os.path.exists(path):
        os.remove(path)


def add(folder: str, epoch: int, scalars: dict[str, float]) -> None:
    """Appends the line of an epoch, counted from 1. `scalars` is empty for a method without gradient steps."""
    if not scalars:
        return
    path = os.path.join(folder, FILE)
    with explain_write_error(path), open(path, "a", encoding="utf-8") as file:
        file.write(f"{json.dumps({'epoch': epoch, **scalars})}\n")


def read(folder: str) -> list[dict]:
    """Returns the lines of the file in a run directory, in the order of the epochs; [] if there is none.

    Lines that are not valid, as the last one of a killed run may be, are left out.
    """
    try:
        text = read_text(os.path.join(folder, FILE)) if folder else ""
    except (OSError, ValueError):
        return []
    rows = {}
    for line in text.splitlines():
        try:
            row = json.loads(line)
        except (ValueError, RecursionError):
            continue
        if isinstance(row, dict) and isinstance(row.get("epoch"), int):
            numbers = {name: value for name, value in row.items() if is_number(value)}
            rows[row["epoch"]] = numbers
    return [rows[epoch] for epoch in sorted(rows)]


def is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)

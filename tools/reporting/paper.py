"""Compares results with the CLIPFit paper (arXiv 2409.16718).

The paper prints means of three seeds without their standard deviation. We assume that its seeds vary as much as our n
seeds, with sample standard deviation s. The 95 % prediction interval for the mean of three more seeds is then
mean ± t(n - 1) s sqrt(1/n + 1/3). A printed mean is marked if it lies outside this interval, widened by the paper's
rounding. With one seed there is no interval, except for zero-shot CLIP, which does not depend on the seed.
"""

import json
import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from .protocols import Key
from .rows import Row
from .stats import Stat
from .tables import Group, Table

FILE = Path(__file__).with_name("paper_results.json")
SEEDS = 3  # in the paper
ROUNDING = 0.005
METHODS = {
    "ZeroshotCLIP": "CLIP", "CLIP_Adapter": "CLIP-Adapter", "TipAdapter": "Tip-Adapter", "TipAdapterF": "Tip-Adapter",
}  # fmt: skip
COLUMNS = {"Base": "base", "New": "new", "H": "hm"}
BACKBONE = re.compile(r"vit[-_]?b[-_/]?16", re.IGNORECASE)


@dataclass
class Comparison:
    group: str
    row: Row
    column: str
    ours: Stat
    printed: float
    outside: bool | None  # printed mean is outside the prediction interval; None if there is no interval
    recipe: str  # "recipe", the differences from it, or "no recipe"
    notes: list[str]

    @property
    def difference(self) -> float:
        return self.ours.mean - self.printed

    @property
    def signed(self) -> str:
        """The difference as text, e.g. "+0.17"."""
        return f"{round(self.difference, 2) + 0.0:+.2f}"  # adding 0.0 turns -0.00 into +0.00


@cache
def load() -> dict:
    return json.loads(FILE.read_text(encoding="utf-8"))


def compare(table: Table) -> list[Comparison]:
    """Returns a comparison for each number of a table that the paper prints. Empty for backbones not in the paper."""
    comparisons = []
    if not BACKBONE.search(table.key.backbone):
        return comparisons
    for group in table.groups:
        for title, cells in group.cells.items():
            row = table.row(title)
            for column in table.columns:
                path = path_in_paper(table.key, group, row, column)
                printed = look_up(path) if path and column in cells else None
                if printed is not None:
                    ours = cells[column]
                    is_outside = outside(ours, printed, row.zero_shot)
                    recipe = row.recipe(group.datasets)
                    notes = notes_on(path, row)
                    comparisons.append(Comparison(group.title, row, column, ours, printed, is_outside, recipe, notes))
    return comparisons


def path_in_paper(key: Key, group: Group, row: Row, column: str) -> list[str] | None:
    """Returns the path to a number in paper_results.json, e.g. ["few_shot", "16", "EuroSAT", "CLIPFit"].

    None if the paper has no such table, or its average is over other datasets.
    """
    section = {"base2new": "base_to_new", "fewshot": "few_shot", "domain_shift": "distribution_shift"}
    path = [section.get(key.protocol, key.protocol)]
    path += {"base2new": [str(key.shots)], "fewshot": [column]}.get(key.protocol, [])
    if key.source and (key.source, key.shots) != ("ImageNet", 16):
        return None
    name = "Average" if group.average else group.title
    if group.average and set(group.datasets) != datasets_of(path):
        return None
    path += [name, METHODS.get(row.method, row.method)]
    return [*path, COLUMNS[column]] if key.protocol == "base2new" else path


def datasets_of(path: list[str]) -> set[str]:
    """Returns the datasets of an average in the paper."""
    section = look_up(path)
    names = set(section or ()) - {"Average"}
    return names - {"ImageNet"} if path[0] == "cross_dataset" else names


def look_up(path: list[str]):
    """Returns the value at a path in paper_results.json, or None."""
    node = load()
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    return node


def outside(ours: Stat, printed: float, zero_shot: bool) -> bool | None:
    """Returns whether the printed mean is outside the prediction interval; None if one seed gives no interval."""
    half_width = 0.0 if zero_shot else ours.prediction_half_width(SEEDS)
    return None if half_width is None else abs(ours.mean - printed) > half_width + ROUNDING


def distinct_notes(comparisons: list[Comparison]) -> list[str]:
    """Returns the notes of a table without duplicates. Numbers refer to them by index."""
    return list(dict.fromkeys(note for item in comparisons for note in item.notes))


def notes_on(path: list[str], row: Row) -> list[str]:
    """Returns the known doubts about a printed number."""
    notes = [f"{note['table']}: {note['comment']}." for note in load()["notes"] if path in note.get("paths", [])]
    if row.method.startswith("TipAdapter"):
        notes += [note["comment"] + "." for note in load()["notes"] if note["cell"] == "Tip-Adapter"]
    return notes

"""The CLIPFit paper's numbers (arXiv 2409.16718) beside one's own, and whether seeds explain the difference.

The paper gives means of three seeds without their spread. If that is the spread of one's own n seeds (sample standard
deviation s), the 95 % prediction interval for the mean of three more seeds is one's own mean
± t(n - 1) s sqrt(1/n + 1/3). A printed mean outside this interval, widened by the rounding of the print, is marked.
With one seed nothing is said, except for zero-shot CLIP, which does not depend on the seed.
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
SEEDS = 3  # of the paper
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
    outside: bool | None  # None: nothing can be said
    recipe: str  # "recipe" if the settings are the recipe's, what differs, or "no recipe"
    notes: list[str]

    @property
    def difference(self) -> float:
        return self.ours.mean - self.printed

    @property
    def signed(self) -> str:
        """+0.17"""
        return f"{round(self.difference, 2) + 0.0:+.2f}"  # no -0.00


@cache
def load() -> dict:
    return json.loads(FILE.read_text(encoding="utf-8"))


def compare(table: Table) -> list[Comparison]:
    """Every number of a table that the paper has, too; none for another backbone than the paper's."""
    found = []
    if not BACKBONE.search(table.key.backbone):
        return found
    for group in table.groups:
        for title, cells in group.cells.items():
            row = table.row(title)
            for column in table.columns:
                path = path_in_paper(table.key, group, row, column)
                printed = look_up(path) if path and column in cells else None
                if printed is not None:
                    ours, notes = cells[column], notes_on(path, row)
                    judged = outside(ours, printed, row.zero_shot)
                    recipe = row.recipe(group.datasets)
                    found.append(Comparison(group.title, row, column, ours, printed, judged, recipe, notes))
    return found


def path_in_paper(key: Key, group: Group, row: Row, column: str) -> list[str] | None:
    """Where the paper's number stands in its file; None if the average is over other datasets."""
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
    """Datasets that an average of the paper is over."""
    section = look_up(path)
    names = set(section or ()) - {"Average"}
    return names - {"ImageNet"} if path[0] == "cross_dataset" else names


def look_up(path: list[str]):
    node = load()
    for part in path:
        node = node.get(part) if isinstance(node, dict) else None
    return node


def outside(ours: Stat, printed: float, zero_shot: bool) -> bool | None:
    """Whether the spread over one's own seeds leaves the printed mean unexplained."""
    half = 0.0 if zero_shot else ours.prediction_half_width(SEEDS)
    return None if half is None else abs(ours.mean - printed) > half + ROUNDING


def distinct_notes(comparisons: list[Comparison]) -> list[str]:
    """What is doubtful about the numbers of a table; a number refers to them by place."""
    return list(dict.fromkeys(note for item in comparisons for note in item.notes))


def notes_on(path: list[str], row: Row) -> list[str]:
    """What is known to be doubtful about a printed number."""
    notes = [f"{note['table']}: {note['comment']}." for note in load()["notes"] if path in note.get("paths", [])]
    if row.method.startswith("TipAdapter"):
        notes += [note["comment"] + "." for note in load()["notes"] if note["cell"] == "Tip-Adapter"]
    return notes

"""Compares results with published numbers.

Papers print means over seeds without their standard deviation. We assume that their m seeds vary as much as our n
seeds, with sample standard deviation s. The 95 % prediction interval for the mean of m more seeds is then
mean ± t(n - 1) s sqrt(1/n + 1/m). A printed mean is marked if it lies outside this interval, widened by the rounding
of the print. If a source does not state its seeds, m is 1, which marks least. With one seed of ours there is no
interval, except for zero-shot CLIP, which does not depend on the seed.
"""

from dataclasses import dataclass

from runtime.decimals import decimals

from .printed_numbers import AVERAGE, Number
from .protocols import Key
from .published import published
from .rows import Row
from .stats import Stat
from .tables import Group, Table

ROUNDING = 0.005
SOURCE_DATASET = "ImageNet"  # that published cross-dataset and distribution-shift models were trained on


@dataclass
class Comparison:
    """A result, and the number that the authors of the method print; if they print none, that of another source.

    Attributes:
        outside: whether the printed mean is outside the prediction interval; None if there is no interval.
        recipe: "recipe", the differences from it, or "no recipe".
        differing: the numbers of other sources that differ from the one compared with.
    """

    group: str
    row: Row
    column: str
    ours: Stat
    number: Number
    outside: bool | None
    recipe: str
    differing: list[Number]

    @property
    def difference(self) -> float:
        return self.ours.mean - self.number.value

    @property
    def signed(self) -> str:
        """The difference as text, e.g. "+0.17"."""
        return decimals(self.difference, 2, "+")

    @property
    def source(self) -> str:
        return source_name(self.number)

    @property
    def others(self) -> str:
        """The differing numbers as text, e.g. "67.99 KgCoOp (others), 69.77 DePT (others)"."""
        return ", ".join(f"{number.value:.2f} {source_name(number)}" for number in self.differing)

    @property
    def notes(self) -> list[str]:
        return self.number.remarks


def source_name(number: Number) -> str:
    """Returns the source of a number, with who printed it if it was not the method's authors: "DePT (others)"."""
    return number.source if number.by == "authors" else f"{number.source} ({number.by})"


def compare(table: Table) -> list[Comparison]:
    """Returns a comparison for each number of a table that a source prints."""
    comparisons = []
    for group in table.groups:
        for title, cells in group.cells.items():
            row = table.row(title)
            for column in table.columns:
                numbers = printed(table.key, group, row, column) if column in cells else []
                if numbers:
                    ours, first = cells[column], numbers[0]
                    is_outside = outside(ours, first.value, first.seeds, row.zero_shot)
                    recipe = row.recipe(group.datasets)
                    differing = distinct(numbers)[1:]
                    comparisons.append(Comparison(group.title, row, column, ours, first, is_outside, recipe, differing))
    return comparisons


def printed(key: Key, group: Group, row: Row, column: str) -> list[Number]:
    """Returns the printed numbers of a cell, the authors' own first; averages only if they are over its datasets."""
    if key.source not in ("", SOURCE_DATASET):
        return []
    if key.protocol == "fewshot":
        shots, column = column, "Accuracy"
    else:
        shots = "" if row.zero_shot else str(key.shots)
    dataset = AVERAGE if group.average else group.title
    found = published().find(key.protocol, dataset, row.method, column, shots, key.backbone)
    return [number for number in found if not group.average or number.averaged == set(group.datasets)]


def distinct(numbers: list[Number]) -> list[Number]:
    """Returns the first number of each value, to two decimals."""
    by_value = {}
    for number in numbers:
        by_value.setdefault(f"{number.value:.2f}", number)
    return list(by_value.values())


def outside(ours: Stat, value: float, seeds: int | None, zero_shot: bool = False) -> bool | None:
    """Returns whether a printed mean is outside the prediction interval; None if one seed gives no interval.

    Args:
        seeds: number of seeds that the printed number is the mean of; None if it is not known.
    """
    half_width = 0.0 if zero_shot else ours.prediction_half_width(seeds or 1)
    return None if half_width is None else abs(ours.mean - value) > half_width + ROUNDING


def distinct_notes(comparisons: list[Comparison]) -> list[str]:
    """Returns the notes of a table without duplicates. Numbers refer to them by index."""
    return list(dict.fromkeys(note for item in comparisons for note in item.notes))


def unpublished(table: Table, comparisons: list[Comparison]) -> list[str]:
    """Returns the methods of a table without any published number."""
    compared = {item.row.method for item in comparisons}
    return list(dict.fromkeys(row.method for row in table.rows if row.method not in compared))

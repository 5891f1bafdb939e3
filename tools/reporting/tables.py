"""Tables of the protocols: a group a dataset and for the averages, a row a method and setting, a number a column."""

import math
from collections import defaultdict
from dataclasses import dataclass, field

from datasets import catalogue

from .problems import Problem
from .protocols import Entry, Key
from .rows import Row, split_rows
from .stats import Stat, average, harmonic, over_seeds


@dataclass
class Group:
    """Rows of one dataset, or of an average over `datasets`."""

    title: str
    datasets: list[str]
    cells: dict[str, dict[str, Stat]]  # row title -> column -> number
    average: bool = False

    def best(self, column: str) -> float | None:
        """The highest mean, where rows compete."""
        means = [cells[column].mean for cells in self.cells.values() if column in cells]
        return max(means) if len(means) > 1 else None


@dataclass
class Table:
    key: Key
    columns: list[str]
    rows: list[Row]
    groups: list[Group]
    notes: list[str] = field(default_factory=list)

    def row(self, title: str) -> Row:
        return next(row for row in self.rows if row.title == title)


def make_table(key: Key, entries: list[Entry]) -> tuple[Table, list[Problem]]:
    rows, problems = split_rows(entries, key.protocol), []
    grid = defaultdict(dict)  # dataset -> row title -> column -> number
    for row in rows:
        for dataset in {entry.dataset for entry in row.entries}:
            cells, wrong = cells_of_row(row, [entry for entry in row.entries if entry.dataset == dataset])
            grid[dataset][row.title] = cells
            problems += [Problem(kind, f"{row.title} on {dataset} ({key.title})", text) for kind, text in wrong]
    columns = columns_of(key, entries)
    datasets = sorted(grid, key=lambda name: (name != key.source, catalogue.order(name), name))
    groups, notes = averages(key, datasets, rows, grid)
    groups += [Group(name, [name], {row.title: grid[name][row.title] for row in rows if row.title in grid[name]})
               for name in datasets]  # fmt: skip
    table = Table(key, columns, rows, groups, [note for row in rows for note in row.notes] + notes)
    return table, problems


def columns_of(key: Key, entries: list[Entry]) -> list[str]:
    if key.protocol == "base2new":
        return ["Base", "New", "H"]
    if key.protocol == "fewshot":
        columns = {entry.column for entry in entries}
        return sorted(columns, key=lambda column: int(column) if column.isdigit() else math.inf)
    return ["Accuracy"]


def cells_of_row(row: Row, entries: list[Entry]) -> tuple[dict[str, Stat], list[tuple]]:
    """Numbers of one row on one dataset, and (kind of problem, text)."""
    values, problems = accuracy_by_seed(entries)
    if row.zero_shot:
        problems = [(kind, text) for kind, text in problems if "same result" not in text]
    if not values.keys() & {"Base", "New"}:
        return {column: over_seeds(numbers) for column, numbers in values.items()}, problems
    base, new = values.get("Base", {}), values.get("New", {})
    for seed in sorted(base.keys() ^ new.keys(), key=str):
        problems.append(("unpaired", f"seed {seed} has {'Base' if seed in base else 'New'} only"))
    both = base.keys() & new.keys()
    if both:
        base, new = ({seed: part[seed] for seed in part if seed in both} for part in (base, new))
    cells = {"Base": over_seeds(base), "New": over_seeds(new)}
    cells["H"] = harmonic(cells["Base"], cells["New"]) if both else None
    return {column: stat for column, stat in cells.items() if stat}, problems


def accuracy_by_seed(entries: list[Entry]) -> tuple[dict[str, dict], list[tuple]]:
    """Column -> seed -> accuracy, and a problem for every seed that is there twice: the newer run counts."""
    runs, problems = defaultdict(dict), []
    for entry in sorted(entries, key=lambda entry: entry.run.extra.get("written") or ""):
        seed, run = seed_of(entry.run), entry.run
        other = runs[entry.column].get(seed)
        if other and other.accuracy != run.accuracy:
            text = f"{other.accuracy:.2f} in {other.folder}, {run.accuracy:.2f} in {run.folder}; the latter is taken"
            problems.append(("duplicate", f"seed {seed}: {text}"))
        elif other and other.eval_only == run.eval_only:
            problems.append(("duplicate", f"seed {seed}: {other.folder} and {run.folder} have the same result"))
        runs[entry.column][seed] = run
    order = {column: sorted(found, key=str) for column, found in runs.items()}
    return {column: {seed: runs[column][seed].accuracy for seed in order[column]} for column in runs}, problems


def seed_of(run):
    """What tells repetitions apart: the seed, or the folder's name where none was set."""
    seed = run.training.seed
    return run.folder.name if seed is None or (seed < 0 and not run.zero_shot) else seed


def averages(key: Key, datasets: list[str], rows: list[Row], grid: dict) -> tuple[list[Group], list[str]]:
    """Groups of the averages over all datasets and, where some lack some, over those that every row has; notes."""
    targets = [name for name in datasets if name != key.source]
    wanted = [("Average", datasets if key.protocol == "domain_shift" else targets)]
    if key.protocol == "domain_shift":
        wanted = [("Average with source", datasets), ("Average of targets", targets)]
    common = [name for name in targets if all(complete(row, name, grid) for row in rows)]
    if 1 < len(common) < len(targets):
        without = [name for name in targets if name not in common]
        title = f"without {', '.join(without)}" if len(without) <= len(common) else f"of {', '.join(common)}"
        wanted.append((f"Average {title}", common))
    groups, notes = [], []
    for title, names in wanted:
        if len(names) < 2:
            continue
        cells = {row.title: average_row(row, names, grid, key) for row in rows}
        if names is not common:
            partial = [row for row in rows if not all(complete(row, name, grid) for name in names)]
            notes += [missing_note(row, title, names, grid) for row in partial]
            title = f"{title} ({len(names)} datasets)"
        group = Group(title, names, {row: found for row, found in cells.items() if found}, average=True)
        groups += [group] if group.cells else []
    return groups, notes


def complete(row: Row, dataset: str, grid: dict) -> bool:
    """Whether a row has on this dataset whatever it has on any."""
    everywhere = {column for cells in grid.values() for column in cells.get(row.title, ())}
    return everywhere <= set(grid[dataset].get(row.title, ()))


def average_row(row: Row, datasets: list[str], grid: dict, key: Key) -> dict[str, Stat]:
    found = {}
    columns = {column for cells in grid.values() for column in cells.get(row.title, ())} - {"H"}
    for column in columns:
        stats = [grid[name].get(row.title, {}).get(column) for name in datasets]
        if all(stats):
            found[column] = average(stats)
    if key.protocol == "base2new" and (h := harmonic(found.get("Base"), found.get("New"))):
        found["H"] = h
    return found


def missing_note(row: Row, title: str, names: list[str], grid: dict) -> str:
    without = [name for name in names if not complete(row, name, grid)]
    return f"{row.title}: no full {title}, as runs are missing on {', '.join(without)}."

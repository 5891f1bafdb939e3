"""Tables of the protocols: one group per dataset and average, one row per method and setting, one number per column."""

import math
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from datasets import catalogue
from tools.records import instant
from trainers.common.runs.dataset_metrics import ACCURACY

from .problems import Problem
from .protocols import Entry, Key
from .rows import Row, split_rows
from .run import Run
from .stats import Stat, average, harmonic, over_seeds


@dataclass
class Group:
    """The rows of one dataset, or of an average over `datasets`."""

    title: str
    datasets: list[str]
    cells: dict[str, dict[str, Stat]]  # row title -> column -> number
    average: bool = False

    def best(self, column: str) -> float | None:
        """Returns the highest mean, or None if fewer than two rows have a number."""
        means = [cells[column].mean for cells in self.cells.values() if column in cells]
        return max(means) if len(means) > 1 else None


@dataclass
class Table:
    key: Key
    columns: list[str]
    rows: list[Row]
    groups: list[Group]
    notes: list[str] = field(default_factory=list)
    name: str = ""  # for files and anchors; unique in a report

    def row(self, title: str) -> Row:
        return next(row for row in self.rows if row.title == title)


def make_table(key: Key, entries: list[Entry]) -> tuple[Table, list[Problem]]:
    """Returns the table of the entries, and the problems of its cells."""
    rows = split_rows(entries, key.protocol)
    problems = []
    grid = defaultdict(dict)  # dataset -> row title -> column -> number
    for row in rows:
        for dataset in {entry.dataset for entry in row.entries}:
            cells, row_problems = cells_of_row(row, [entry for entry in row.entries if entry.dataset == dataset])
            grid[dataset][row.title] = cells
            subject = f"{row.title} on {dataset} ({key.title})"
            problems += [Problem(category, subject, message) for category, message in row_problems]
    names = {entry.dataset: entry.name or entry.dataset for entry in entries}  # dataset -> its name without its images
    datasets = sorted(
        grid, key=lambda dataset: (names[dataset] != key.source, catalogue.order(names[dataset]), dataset)
    )
    groups, notes = averages(key, names, datasets, rows, grid)
    for dataset in datasets:
        cells = {row.title: grid[dataset][row.title] for row in rows if row.title in grid[dataset]}
        groups.append(Group(dataset, [dataset], cells))
    notes = [*metric_notes(entries), *(note for row in rows for note in row.notes), *notes]
    return Table(key, columns_of(key, entries), rows, groups, notes), problems


def metric_notes(entries: list[Entry]) -> list[str]:
    """Returns a note per dataset whose numbers are not accuracies."""
    runs = {entry.dataset: entry.run for entry in entries if entry.run.metric != ACCURACY}
    notes = []
    for dataset, run in sorted(runs.items()):
        where = "" if run.accuracy is None else "; the accuracy is in runs.csv"
        notes.append(f"{dataset}: {run.metric.replace('_', ' ')} instead of accuracy, in averages, too{where}.")
    return notes


def set_names(tables: list[Table]) -> None:
    """Sets the names of the tables. Of two equal ones, as of ViT-B/16 and ViT-B-16, one ends in -2."""
    used = Counter()
    for table in tables:
        name = table.key.name
        used[name.lower()] += 1
        table.name = name if used[name.lower()] == 1 else f"{name}-{used[name.lower()]}"


def columns_of(key: Key, entries: list[Entry]) -> list[str]:
    if key.protocol == "base2new":
        return ["Base", "New", "H"]
    if key.protocol == "fewshot":
        columns = {entry.column for entry in entries}
        return sorted(columns, key=lambda column: int(column) if column.isdigit() else math.inf)
    return ["Accuracy"]


def cells_of_row(row: Row, entries: list[Entry]) -> tuple[dict[str, Stat], list[tuple]]:
    """Returns the numbers of a row on one dataset by column, and its problems as (category, message)."""
    values, problems = accuracy_by_seed(entries, row.zero_shot)
    if not values.keys() & {"Base", "New"}:
        return {column: over_seeds(seeds) for column, seeds in values.items()}, problems
    base = values.get("Base", {})
    new = values.get("New", {})
    for seed in sorted(base.keys() ^ new.keys(), key=str):
        problems.append(("unpaired", f"seed {seed}: " + ("Base without New" if seed in base else "New without Base")))
    paired = base.keys() & new.keys()
    if paired:
        base = {seed: value for seed, value in base.items() if seed in paired}
        new = {seed: value for seed, value in new.items() if seed in paired}
    cells = {"Base": over_seeds(base), "New": over_seeds(new)}
    cells["H"] = harmonic(cells["Base"], cells["New"]) if paired else None
    return {column: stat for column, stat in cells.items() if stat}, problems


def accuracy_by_seed(entries: list[Entry], zero_shot: bool) -> tuple[dict[str, dict], list[tuple]]:
    """Returns column -> seed -> accuracy, and problems as (category, message) for duplicate seeds.

    Of several results for a seed, the newest is used. Equal results of zero-shot CLIP are expected, and no problem. A
    metric of the dataset's own takes the place of the accuracy.
    """
    runs = defaultdict(dict)  # column -> seed -> run
    problems = []
    for column, run in by_age(entries):
        seed = seed_of(run)
        other = runs[column].get(seed)
        if other and other.score != run.score:
            results = f"{other.score:.2f} in {other.folder}, {run.score:.2f} in {run.folder}"
            problems.append(("duplicate", f"seed {seed}: {results}; using {run.score:.2f}"))
        elif other and other.eval_only == run.eval_only and not zero_shot:
            problems.append(("duplicate", f"seed {seed}: equal results in {other.folder} and {run.folder}"))
        runs[column][seed] = run
    values = {}
    for column, by_seed in runs.items():
        values[column] = {seed: by_seed[seed].score for seed in sorted(by_seed, key=str)}
    return values, problems


def by_age(entries: list[Entry]) -> list[tuple[str, Run]]:
    """Returns (column, run) of the entries, the oldest first."""
    ordered = sorted(entries, key=lambda entry: instant(entry.run.extra.get("written")) or 0)
    return [(entry.column, entry.run) for entry in ordered]


def newest_runs(entries: list[Entry]) -> dict[str, dict]:
    """Returns column -> seed -> run, the newest of each seed."""
    found = defaultdict(dict)
    for column, run in by_age(entries):
        found[column][seed_of(run)] = run
    return found


def seed_of(run):
    """Returns the key of a repetition: the seed, or the folder's name if no seed was set."""
    seed = run.training.seed
    return run.folder.name if seed is None or (seed < 0 and not run.zero_shot) else seed


def averages(
    key: Key, name_of: dict[str, str], datasets: list[str], rows: list[Row], grid: dict
) -> tuple[list[Group], list[str]]:
    """Returns the groups of the averages, and notes on datasets and rows that they do not contain.

    The averages are over all datasets (without the source, except for distribution shift) and, if some rows do not
    have all datasets, over the datasets that every row has. Datasets that were tested with different images are in no
    average.

    Args:
        name_of: dataset -> its name without its images.
    """
    counts = Counter(name_of.values())
    divided = sorted(name for name, count in counts.items() if count > 1)
    datasets = [dataset for dataset in datasets if name_of[dataset] not in divided]
    targets = [dataset for dataset in datasets if name_of[dataset] != key.source]
    if key.protocol == "domain_shift" and key.source not in divided:
        wanted = [("Average with source", datasets), ("Average of targets", targets)]
    else:
        wanted = [("Average", targets)]
    common = [name for name in targets if all(complete(row, name, grid) for row in rows)]
    if 1 < len(common) < len(targets):
        excluded = [name for name in targets if name not in common]
        scope = f"without {', '.join(excluded)}" if len(excluded) <= len(common) else f"of {', '.join(common)}"
        wanted.append((f"Average {scope}", common))
    groups = []
    notes = [f"{name}: tested with different images, so it is in no average." for name in divided]
    for title, names in wanted:
        if len(names) < 2:
            continue
        if names is not common:
            incomplete = [row for row in rows if not all(complete(row, name, grid) for name in names)]
            notes += [missing_note(row, title, names, grid) for row in incomplete]
            title = f"{title} ({len(names)} datasets)"
        cells = {row.title: average_row(row, names, grid, key) for row in rows}
        cells = {row_title: numbers for row_title, numbers in cells.items() if numbers}
        if cells:
            groups.append(Group(title, names, cells, average=True))
    return groups, notes


def columns_with_numbers(row: Row, grid: dict) -> set[str]:
    """Returns the columns in which a row has a number on any dataset."""
    return {column for cells in grid.values() for column in cells.get(row.title, ())}


def complete(row: Row, dataset: str, grid: dict) -> bool:
    """Returns whether a row has numbers on this dataset in all columns that it has on any dataset."""
    return columns_with_numbers(row, grid) <= set(grid[dataset].get(row.title, ()))


def average_row(row: Row, datasets: list[str], grid: dict, key: Key) -> dict[str, Stat]:
    """Returns column -> average over the datasets, for the columns that have a number on each of them."""
    cells = {}
    for column in columns_with_numbers(row, grid) - {"H"}:
        stats = [grid[name].get(row.title, {}).get(column) for name in datasets]
        if all(stats):
            cells[column] = average(stats)
    h = harmonic(cells.get("Base"), cells.get("New"))
    if key.protocol == "base2new" and h:
        cells["H"] = h
    return cells


def missing_note(row: Row, title: str, names: list[str], grid: dict) -> str:
    missing = [name for name in names if not complete(row, name, grid)]
    return f"{row.title}: not in {title}; runs are missing on {', '.join(missing)}."

"""The results of a study's cells: accuracies of finished runs, means over seeds, averages over datasets."""

import functools
from collections import defaultdict
from dataclasses import dataclass, field

from tools.reporting.published import published
from tools.reporting.run import Run, read_record
from tools.reporting.stats import Stat, average, harmonic, over_seeds
from tools.shots import shots_name, shots_text
from trainers.common.runs.record_schema import FILE

from .plan import Cell
from .rows import Row
from .studies import NO_PAPER, Study

HOLE = "–"
AVERAGE = "Average"


@functools.cache
def finished_run(folder) -> Run | None:
    """Returns the run in a run directory, or None if it is not finished or its record is corrupted."""
    try:
        run = read_record(folder / FILE)
    except (OSError, ValueError):
        return None
    return run if run.finished else None


@dataclass
class Results:
    """Accuracies of a study.

    Attributes:
        columns: Base, New, H; or numbers of shots; or Accuracy.
        datasets: Tested datasets, in the order of the plan.
        averaged: Those of them that the average is over.
        values: row -> dataset -> column -> number; holes are missing.
        missing: row -> "dataset column seed" of the runs that are not finished.
    """

    columns: list[str]
    datasets: list[str]
    averaged: list[str]
    values: dict[str, dict[str, dict[str, Stat]]]
    missing: dict[str, list[str]] = field(default_factory=dict)

    def average(self, row: str) -> dict[str, Stat]:
        """Returns column -> average of a row. A column that lacks a dataset has none."""
        found = {}
        for column in self.columns:
            stats = [self.values[row].get(dataset, {}).get(column) for dataset in self.averaged]
            if stats and all(stats) and column != "H":
                found[column] = average(stats)
        if h := harmonic(found.get("Base"), found.get("New")):
            found["H"] = h
        return found


def results_of(study: Study, cells: list[Cell], done) -> Results:
    """Returns the results of a study.

    Args:
        done: done(job) tells whether a job is finished, with the settings of the plan.
    """
    accuracies = defaultdict(lambda: defaultdict(lambda: defaultdict(dict)))  # row, dataset, column -> seed -> accuracy
    missing = defaultdict(list)
    for cell in cells:
        label = row_label(study, cell, cells)
        by_seed = accuracies[label][cell.dataset][cell.column]
        run = finished_run(cell.job.output) if cell.job and done(cell.job) else None
        if run:
            by_seed[cell.seed] = run.score
        else:
            missing[label].append(f"{cell.dataset} {cell.column}, seed {cell.seed}")
    values = {}
    for row, by_dataset in accuracies.items():
        values[row] = {}
        for dataset, by_column in by_dataset.items():
            numbers = {column: over_seeds(dict(sorted(seeds.items()))) for column, seeds in by_column.items() if seeds}
            values[row][dataset] = paired(by_column) if study.protocol == "base2new" else numbers
    datasets = list(dict.fromkeys(cell.dataset for cell in cells))
    sources = {cell.source for cell in cells} if study.protocol == "cross_dataset" else set()
    columns = ["Base", "New", "H"] if study.protocol == "base2new" else list(dict.fromkeys(c.column for c in cells))
    return Results(columns, datasets, [name for name in datasets if name not in sources], values, dict(missing))


def paired(by_column: dict[str, dict]) -> dict[str, Stat]:
    """Returns Base, New and H of the seeds that have both Base and New; without such seeds, what there is."""
    base, new = (dict(sorted(by_column.get(column, {}).items())) for column in ("Base", "New"))
    both = base.keys() & new.keys()
    if both:
        base, new = ({seed: value for seed, value in seeds.items() if seed in both} for seeds in (base, new))
    numbers = {"Base": over_seeds(base), "New": over_seeds(new)}
    numbers["H"] = harmonic(numbers["Base"], numbers["New"]) if both else None
    return {column: stat for column, stat in numbers.items() if stat}


def row_label(study: Study, cell: Cell, cells: list[Cell]) -> str:
    """Returns the name of a cell's row, with the shots if a table that has no columns for them has several."""
    if study.protocol == "fewshot" or len({other.shots for other in cells}) == 1:
        return cell.row
    return f"{cell.row}, {shots_text(shots_name(cell.shots))}"


def printed(study: Study, row: Row, dataset: str, column: str, shots: int) -> float | None:
    """Returns the number that the paper prints at the study's path, or None.

    Args:
        dataset: name, or AVERAGE.
    """
    if not study.paper or row.paper == NO_PAPER or ("{dataset}" not in study.paper and dataset != AVERAGE):
        return None
    values = {
        "dataset": dataset, "column": column, "shots": shots_name(shots),
        "regime": "high_data" if shots < 0 else "low_data",
    }  # fmt: skip
    value = published().look_up(study.paper.replace("{row}", row.paper or row.method).format(**values))
    return value if isinstance(value, (int, float)) else None

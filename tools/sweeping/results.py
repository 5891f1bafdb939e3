"""The results of a sweep so far, in the rows and columns of its report; cells without a result are there, too.

The report itself sorts runs by what their records say, when there are records. This table is planned from the jobs, so
that it has all rows from the start, and costs nothing while jobs run.
"""

from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from tools.records import printable
from tools.reporting.stats import Stat, average, harmonic, over_seeds
from tools.shots import shots_name, shots_text
from trainers.common.runs.record_schema import FILE

from . import varying
from .jobs import Job
from .state import read_record

COLUMNS = {"base": "Base", "new": "New"}  # of base2new, by the classes tested on; H is computed from them
ZERO_SHOT = "0"  # column of the methods that train nothing, where the columns are the shots
AVERAGE = "Average"


class Place(NamedTuple):
    """The row of a job: a dataset and a method. Its column is Base, New, Accuracy, or a number of shots."""

    dataset: str
    method: str
    column: str
    averaged: bool  # whether the dataset counts for the average: not the source of a transfer


@dataclass
class Cells:
    """The results of a row.

    Attributes:
        values: column -> seed -> number in percent, or None if it is missing.
        waiting: number of jobs that have not ended.
    """

    values: dict[str, dict] = field(default_factory=lambda: defaultdict(dict))
    waiting: int = 0

    def stats(self) -> dict[str, Stat]:
        """Returns column -> mean and std over the seeds that are there."""
        found = {}
        for column, seeds in self.values.items():
            if there := {seed: value for seed, value in seeds.items() if value is not None}:
                found[column] = over_seeds(there)
        both = [found.get(column) for column in COLUMNS.values()]
        if all(both) and (shared := both[0].seeds.keys() & both[1].seeds.keys()):
            base, new = (over_seeds({seed: stat.seeds[seed] for seed in sorted(shared)}) for stat in both)
            found["H"] = harmonic(base, new)
        return found

    @property
    def seeds(self) -> str:
        """The number of seeds with results in all columns, such as "2/3"."""
        wanted = {seed for seeds in self.values.values() for seed in seeds}
        missing = {seed for seeds in self.values.values() for seed, value in seeds.items() if value is None}
        return f"{len(wanted - missing)}/{len(wanted)}"


class Row(NamedTuple):
    dataset: str
    method: str
    stats: dict[str, Stat]  # column -> result; columns without a result are missing
    seeds: str  # "2/3"; "" for an average
    ended: bool  # whether all its jobs have ended


class Results:
    """The results of jobs.

    Args:
        expected: `state.expected_record` of each job of the sweep.
        finished: the jobs that are finished already.
    """

    def __init__(self, expected: dict[Job, dict], finished=()):
        self.cells = defaultdict(Cells)  # (dataset, method) -> results
        self.averaged = {}  # datasets that count for the average, as keys
        self.places = places(expected)
        for job, place in self.places.items():
            cells = self.cells[place.dataset, place.method]
            cells.values[place.column].setdefault(job.setting.seed, None)
            cells.waiting += 1
            self.averaged |= {place.dataset: None} if place.averaged else {}
        found = {place.column for place in self.places.values()}
        if found >= set(COLUMNS.values()):
            found.add("H")
        self.columns = sorted(found, key=column_order)
        for job in finished:
            self.add(job)

    def add(self, job: Job, finished: bool = True) -> None:
        """Adds the result of a job that has ended; one that has failed leaves its cell empty."""
        place = self.places.get(job)
        if place:
            cells = self.cells[place.dataset, place.method]
            cells.waiting -= 1
            if finished:
                cells.values[place.column][job.setting.seed] = score(job)

    def rows(self) -> list[Row]:
        """Returns the rows, dataset by dataset, after those of the average over several datasets."""
        rows = [
            Row(dataset, method, cells.stats(), cells.seeds, not cells.waiting)
            for (dataset, method), cells in self.cells.items()
        ]
        datasets = dict.fromkeys(row.dataset for row in rows)
        by_dataset = [row for dataset in datasets for row in rows if row.dataset == dataset]
        return [*self.averages(rows), *by_dataset] if len(self.averaged) > 1 else by_dataset

    def averages(self, rows: list[Row]) -> list[Row]:
        """Returns a row per method that is tested on several datasets; a column needs results on all of them."""
        by_method = defaultdict(list)
        for row in rows:
            if row.dataset in self.averaged:
                by_method[row.method].append(row)
        found = []
        for method, members in by_method.items():
            stats = {}
            for column in self.columns:
                cells = [row.stats.get(column) for row in members]
                if all(cells):
                    stats[column] = average(cells)
            if "H" in stats:
                stats["H"] = harmonic(stats["Base"], stats["New"])
            if len(members) > 1:
                found.append(
                    Row(
                        f"{AVERAGE} ({len(self.averaged)} datasets)",
                        method,
                        stats,
                        "",
                        all(row.ended for row in members),
                    )
                )
        return found


def places(expected: dict[Job, dict]) -> dict[Job, Place]:
    """Returns the places of the jobs. Candidates of a choice on validation images have none.

    Jobs that are averaged differ in nothing but the seed: what else differs between the jobs is in their labels.
    """
    jobs = [job for job, record in expected.items() if record["evaluation"]["split"] == "test"]
    several_protocols = len({job.setting.args.protocol for job in jobs}) > 1
    several_sources = len({(job.setting.name, job.setting.args.protocol) for job in jobs if is_transfer(job)}) > 1
    several_shots = len({job.setting.shots for job in jobs}) > 1
    found = {}
    for job in jobs:
        record, setting = expected[job], job.setting
        dataset = record["settings"]["DATASET.NAME"]
        if record["images"]:
            dataset = f"{dataset}: {Path(record['images']).name}"
        if is_transfer(job) and several_sources:
            dataset = f"{setting.name} to {dataset}"
        if several_protocols:
            dataset = f"{setting.args.protocol}: {dataset}"
        origin = f" from {setting.args.start_from}" if setting.starts else ""
        method = f"{setting.method}{origin}{varying.title(setting.values)}"
        column = column_of(job, record)
        if several_shots and column in ("Accuracy", *COLUMNS.values()):
            method = f"{method}, {shots_text(shots_name(setting.shots))}"
        averaged = not (several_protocols or several_sources or (is_transfer(job) and job.training is None))
        found[job] = Place(printable(dataset), printable(method), column, averaged)
    return found


def is_transfer(job: Job) -> bool:
    return job.setting.args.protocol in ("cross_dataset", "domain_shift")


def column_of(job: Job, record: dict) -> str:
    """Returns the column of a job. `record`: its expected record."""
    if job.setting.args.protocol == "base2new":
        return COLUMNS[record["settings"]["DATASET.SUBSAMPLE_CLASSES"]]
    if is_transfer(job):
        return "Accuracy"
    return ZERO_SHOT if record["zero_shot"] else shots_name(job.setting.shots)


def column_order(column: str) -> tuple:
    """Sorts numbers of shots, then "all"; Base, New, H."""
    order = [*COLUMNS.values(), "H", "Accuracy", "all"]
    return (1, order.index(column)) if column in order else (0, int(column))


def score(job: Job) -> float | None:
    """Returns the accuracy of a finished job, or the dataset's own metric, in percent; None if there is none."""
    result = read_record(job.output / FILE) or {}
    metrics = (result.get("metrics") or {}).get((result.get("evaluation") or {}).get("split") or "test") or {}
    value = metrics.get(result.get("metric") or "accuracy")
    return value if isinstance(value, (int, float)) else None

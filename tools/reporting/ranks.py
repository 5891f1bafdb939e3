"""The methods of a table, ranked over its datasets, with tests over datasets and over seeds."""

from dataclasses import dataclass, field

from .costs import Cost, cost_of
from .rank_tests import LEVEL, critical_difference, friedman, holm, mean_ranks, paired_t, pairs_of, signed_rank
from .rows import Row
from .stats import Stat, average, harmonic
from .tables import Table

DIGITS = 9  # means that differ less are equal: they are of the same accuracies, added in another order


@dataclass
class Pair:
    """Two methods, a and b. Differences are a - b.

    Attributes:
        difference: of the averages, in points.
        better, equal, worse: number of datasets on which a is.
        over_datasets: p of the signed-rank test over datasets, corrected for the number of pairs.
        over_seeds: p of the paired t test over seeds on the average, corrected likewise; None with one seed.
        better_by_seeds, worse_by_seeds: number of datasets on which the paired t test over seeds, corrected for the
            number of pairs and datasets, shows that a is.
    """

    difference: float
    better: int
    equal: int
    worse: int
    over_datasets: float | None = None
    over_seeds: float | None = None
    better_by_seeds: int = 0
    worse_by_seeds: int = 0


@dataclass
class Ranking:
    """Methods are row titles, best mean rank first.

    Attributes:
        column: what is ranked: H, Accuracy or a number of shots.
        cells: method -> dataset -> number.
        averages: method -> average over the datasets.
        friedman: as `rank_tests.friedman`; None for two methods.
        pairs: of all methods (a, b), a before b.
        seeds: smallest number of seeds that two trained methods share; None if there is only one.
        left_out: method -> datasets that it misses.
    """

    column: str
    datasets: list[str]
    mean_rank: dict[str, float]
    cells: dict[str, dict[str, Stat]]
    averages: dict[str, Stat]
    friedman: tuple | None
    critical_difference: float
    pairs: dict[tuple[str, str], Pair]
    seeds: int | None
    costs: dict[str, Cost]
    left_out: dict[str, list[str]] = field(default_factory=dict)

    @property
    def methods(self) -> list[str]:
        return list(self.mean_rank)

    @property
    def too_few_seeds(self) -> bool:
        """Whether the variation between seeds is not known for some pair of trained methods."""
        return self.seeds is not None and self.seeds < 2

    def distinguished(self, a: str, b: str) -> bool:
        """Whether the test over datasets shows that two methods differ."""
        pair = self.pairs.get((a, b)) or self.pairs[b, a]
        return pair.over_datasets is not None and pair.over_datasets < LEVEL

    def best_on(self, method: str) -> int:
        """Returns the number of datasets on which no other method has a higher mean."""
        highest = {d: max(round(cells[d].mean, DIGITS) for cells in self.cells.values()) for d in self.datasets}
        return sum(round(self.cells[method][d].mean, DIGITS) == highest[d] for d in self.datasets)


def rankings(table: Table) -> list[Ranking]:
    """Returns a ranking for each column to rank by; none with fewer than two methods or datasets."""
    columns = ["H"] if table.key.protocol == "base2new" else [name for name in table.columns if name != "0"]
    found = [ranking(table, column) for column in columns]
    return [item for item in found if item]


def ranking(table: Table, column: str) -> Ranking | None:
    """Returns the ranking of the rows that have all datasets; if fewer than two have, on the datasets that all have."""
    datasets = max((group.datasets for group in table.groups if group.average), key=len, default=[])
    datasets = [name for name in datasets if name != table.key.source]
    cells = {row.title: cells_of(table, row, column, datasets) for row in table.rows}
    cells = {title: found for title, found in cells.items() if found}
    complete = [title for title, found in cells.items() if len(found) == len(datasets)]
    if len(complete) < 2:
        datasets = [name for name in datasets if all(name in found for found in cells.values())]
        complete = list(cells)
    if len(complete) < 2 or len(datasets) < 2:
        return None
    left_out = {title: [d for d in datasets if d not in found] for title, found in cells.items()}
    values = {title: [round(cells[title][d].mean, DIGITS) for d in datasets] for title in complete}
    mean_rank = mean_ranks(values)
    ordered = sorted(complete, key=lambda title: (mean_rank[title], title))
    rows = {title: table.row(title) for title in ordered}
    averages = {title: average_of(table, rows[title], column, datasets) for title in ordered}
    return Ranking(
        column, datasets, {title: mean_rank[title] for title in ordered}, {title: cells[title] for title in ordered},
        averages, friedman(values) if len(values) > 2 else None, critical_difference(len(values), len(datasets)),
        compare_pairs(rows, cells, averages, datasets), shared_seeds(rows, averages),
        {title: row_cost(table, row, column, datasets) for title, row in rows.items()},
        {title: missing for title, missing in left_out.items() if missing and title not in complete},
    )  # fmt: skip


def cells_of(table: Table, row: Row, column: str, datasets: list[str]) -> dict[str, Stat]:
    """Returns dataset -> number of a row. Zero-shot CLIP is compared with any number of shots."""
    column = "0" if row.zero_shot and table.key.protocol == "fewshot" else column
    found = {group.title: group.cells.get(row.title, {}).get(column) for group in table.groups if not group.average}
    return {name: found[name] for name in datasets if found.get(name)}


def average_of(table: Table, row: Row, column: str, datasets: list[str]) -> Stat:
    """Returns the average over datasets; for H, that of the average Base and the average New, as in the table."""
    names = ("Base", "New") if column == "H" else (column,)
    stats = [average(list(cells_of(table, row, name, datasets).values())) for name in names]
    return harmonic(*stats) if column == "H" else stats[0]


def seed_differences(a: Row, b: Row, one: Stat, other: Stat) -> list[float]:
    """Returns the differences one - other on the seeds that both have. Zero-shot CLIP is the same for each seed."""
    if a.zero_shot or b.zero_shot:
        seeds = other.seeds if a.zero_shot else one.seeds
        return [(one.mean if a.zero_shot else seeds[s]) - (other.mean if b.zero_shot else seeds[s]) for s in seeds]
    return [one.seeds[seed] - other.seeds[seed] for seed in one.seeds if seed in other.seeds]


def shared_seeds(rows: dict[str, Row], averages: dict[str, Stat]) -> int | None:
    trained = [title for title, row in rows.items() if not row.zero_shot]
    shared = [len(averages[a].seeds.keys() & averages[b].seeds.keys()) for a, b in pairs_of(trained)]
    return min(shared, default=None)


def compare_pairs(rows: dict[str, Row], cells: dict, averages: dict, datasets: list[str]) -> dict[tuple, Pair]:
    """Returns (a, b) -> comparison of two rows."""
    pairs, over_datasets, over_seeds, by_dataset = {}, {}, {}, {}
    for a, b in pairs_of(rows):
        differences = [round(cells[a][d].mean - cells[b][d].mean, DIGITS) for d in datasets]
        better, worse = sum(value > 0 for value in differences), sum(value < 0 for value in differences)
        pairs[a, b] = Pair(averages[a].mean - averages[b].mean, better, len(datasets) - better - worse, worse)
        over_datasets[a, b] = signed_rank(differences)
        over_seeds[a, b] = paired_t(seed_differences(rows[a], rows[b], averages[a], averages[b]))
        for d, difference in zip(datasets, differences, strict=True):
            p = paired_t(seed_differences(rows[a], rows[b], cells[a][d], cells[b][d]))
            by_dataset[a, b, difference > 0, d] = p
    over_datasets, over_seeds = holm(over_datasets), holm(over_seeds)
    for key, pair in pairs.items():
        pair.over_datasets, pair.over_seeds = over_datasets[key], over_seeds[key]
    for (a, b, better, _), p in holm(by_dataset).items():
        if p is not None and p < LEVEL:
            pairs[a, b].better_by_seeds += better
            pairs[a, b].worse_by_seeds += not better
    return pairs


def row_cost(table: Table, row: Row, column: str, datasets: list[str]) -> Cost:
    """Returns the mean cost of a row's trainings on the datasets; nothing is trained for zero-shot CLIP."""
    if row.zero_shot:
        return Cost(0, 0.0, None, None)
    trainings = {}
    for entry in row.entries:
        wanted = entry.dataset in datasets and (table.key.protocol != "fewshot" or entry.column == column)
        training = entry.run.source_run if entry.run.eval_only else entry.run
        if wanted and training:
            trainings[str(training.folder)] = training
    return cost_of(list(trainings.values()))

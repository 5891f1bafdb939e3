"""Tables of accuracies, ours next to the paper's, and the plot of accuracy against a varied key."""

import json

from tools.reporting.comparison import outside
from tools.reporting.details import Curve, Detail, Panel
from tools.reporting.printed_numbers import is_backbone
from tools.reporting.published import published
from tools.reporting.stats import Stat
from tools.reporting.text import number
from tools.reporting.varied_plots import draw

from .bars import draw_bars
from .blocks import Block
from .plan import Cell
from .results import AVERAGE, HOLE, Results, printed, results_of, row_label
from .studies import Study

BACKBONE = "ViT-B/16"  # of the papers of the studies
ACCURACY = "Accuracy in %, mean ± population standard deviation over seeds."
PAIRS = {
    "base2new": "Base and New: accuracy on the base and on the new classes after training on the base classes; H: "
    "their harmonic mean, in averages that of the average Base and the average New.",
    "fewshot": "Columns: training images per class.",
}  # fmt: skip
PRINTED = (
    "“paper”: the number that the paper prints, a mean over its seeds; * marks those that are outside the 95 % "
    "prediction interval for the mean of as many more seeds, given the variation of ours."
)
PRINTED_ON_OTHER_DATA = (
    "“paper”: the number that is printed, on datasets, with a backbone and with settings that are not known, so that "
    "only the order of the rows can be compared."
)
MAX_MISSING = 5  # runs that a note names


def accuracy_block(study: Study, cells: list[Cell], done, with_datasets: bool = True) -> Block:
    """Returns the table of a study: a group of rows per dataset and for their average.

    Args:
        done: done(job) tells whether a job is finished.
        with_datasets: False: only the average.
    """
    results = results_of(study, cells, done)
    builder = TableBuilder(study, cells, results)
    if len(results.averaged) > 1 or not with_datasets:
        builder.add_group(AVERAGE, average_title(results), {row: results.average(row) for row in results.values})
    for dataset in results.datasets if with_datasets else ():
        builder.add_group(dataset, dataset, {row: found.get(dataset, {}) for row, found in results.values.items()})
    printed_numbers = PRINTED_ON_OTHER_DATA if study.other_data else PRINTED
    caption = [ACCURACY, PAIRS.get(study.protocol, ""), printed_numbers if builder.with_paper else ""]
    block = Block(study.name, study.name, study.title, " ".join(filter(None, caption)), text_columns=2)
    block.columns, block.table, block.csv, block.holes = builder.columns, builder.table, builder.csv, builder.holes
    block.notes = missing_notes(results)
    return block


def average_title(results: Results) -> str:
    """Returns the name of the average. It names the number of datasets, which may not be that of the study."""
    return f"Average of {len(results.averaged)} datasets" if len(results.averaged) > 1 else results.averaged[0]


def missing_notes(results: Results) -> list[str]:
    notes = []
    for row, runs in results.missing.items():
        more = f" and {len(runs) - MAX_MISSING} more" if len(runs) > MAX_MISSING else ""
        notes.append(f"{row}: missing runs: {'; '.join(runs[:MAX_MISSING])}{more}.")
    return notes


class TableBuilder:
    """Builds the cells of a table, as text and as rows of a CSV file.

    Attributes:
        with_paper: Whether the paper prints any of the numbers, so that there are columns for them.
    """

    def __init__(self, study: Study, cells: list[Cell], results: Results):
        self.study = study
        self.results = results
        self.rows = {}  # label -> (Row, shots)
        by_name = {row.name: row for row in study.rows}
        for cell in cells:
            self.rows[row_label(study, cell, cells)] = by_name[cell.row], cell.shots
        backbones = {cell.job.setting.backbone for cell in cells if cell.job}
        self.comparable = all(is_backbone(name, BACKBONE) for name in backbones)
        groups = [*results.datasets, AVERAGE]
        self.with_paper = any(
            self.printed(label, group, column) is not None
            for label in self.rows for group in groups for column in results.columns
        )  # fmt: skip
        pairs = [[column, f"{column} (paper)"] if self.with_paper else [column] for column in results.columns]
        self.columns = ["Dataset", "Method", *sum(pairs, []), "Seeds"]
        self.table, self.csv, self.holes = [], [], 0

    def printed(self, label: str, group: str, column: str) -> float | None:
        """Returns the paper's number. None for another backbone or average, unless the study says `other_data`."""
        same_data = group != AVERAGE or set(self.results.averaged) == self.paper_datasets()
        if not self.study.other_data and not (self.comparable and same_data):
            return None
        row, shots = self.rows[label]
        if self.study.protocol == "fewshot":
            shots = int(column) if column.isdigit() else -1
        return printed(self.study, row, group, column, shots)

    def paper_datasets(self) -> set[str]:
        """Returns the datasets of the paper's average."""
        return published().averaged(self.study.source, self.study.protocol)

    def add_group(self, group: str, title: str, values: dict[str, dict[str, Stat]]) -> None:
        """Adds a row for each row of the study.

        Args:
            group: AVERAGE, or a dataset.
            values: label of the row -> column -> number.
        """
        for label, (row, _) in self.rows.items():
            found = values.get(label, {})
            texts, unrounded = [], {"dataset": title, "method": row.method, "row": label}
            for column in self.results.columns:
                stat = found.get(column)
                self.holes += stat is None
                ours_and_paper = [number(stat) if stat else HOLE]
                unrounded.update({column: stat and stat.mean, f"{column} std": stat and stat.std})
                if self.with_paper:
                    reference = self.printed(label, group, column)
                    compared = stat and reference is not None and not self.study.other_data
                    mark = (
                        "*" if compared and outside(stat, reference, published().seeds.get(self.study.source)) else ""
                    )
                    ours_and_paper.append("" if reference is None else f"{reference:.2f}{mark}")
                    unrounded[f"{column} paper"] = reference
                texts += ours_and_paper
            seeds = sorted({stat.n for stat in found.values()})
            seed_count = "-".join(map(str, dict.fromkeys([*seeds[:1], *seeds[-1:]])))
            self.table.append([title, label, *texts, seed_count or "0"])
            self.csv.append({**unrounded, "seeds": seed_count})


def bars_block(study: Study, cells: list[Cell], done) -> Block:
    """Returns the table of the averages, and a bar chart of them: a group of bars per column, a bar per row."""
    block = accuracy_block(study, cells, done, with_datasets=False)
    results = results_of(study, cells, done)
    averages = {row.name: results.average(row.name) for row in study.rows if row.name in results.values}
    if any(averages.values()):
        block.figure = draw_bars(averages, results.columns, {row.name: row.method for row in study.rows})
        block.caption += " The bars show the table; black lines: one standard deviation."
    else:
        block.notes.append("No plot: no row has its average.")
    return block


def curve_block(study: Study, cells: list[Cell], done) -> Block:
    """Returns the table of a study with varied values, and the plot of the average against them."""
    block = accuracy_block(study, cells, done)
    panels = curve_panels(study, results_of(study, cells, done))
    if not panels:
        block.notes.append("No plot: no row has its average, or there are several numbers of shots.")
        return block
    (axis,) = study.varied
    reference = ", ".join(row.name for row in study.rows if not row.x)
    block.caption += f" The plot shows the average against {axis}; bands: one standard deviation"
    block.caption += f"; dashed line: {reference}." if reference else "."
    detail = Detail(study.title, "", [], [], panels=panels, axis=axis, reference=reference)
    block.figure = draw(detail)
    return block


def curve_panels(study: Study, results: Results) -> list[Panel]:
    """Returns the panel of a plot with a curve per column of the table; if rows have curves, a panel per column."""
    curves = {}  # (column, curve of the row) -> [(value as JSON text, number)]
    references = {}  # column -> number of the row without a varied value
    for row in study.rows:
        for column, stat in (results.average(row.name) if row.name in results.values else {}).items():
            if row.x:
                curves.setdefault((column, row.curve), []).append((json.dumps(row.x[0]), stat))
            else:
                references[column] = stat
    title = average_title(results)
    if not any(row.curve for row in study.rows):
        found = [Curve(column, points, references.get(column)) for (column, _), points in curves.items()]
        return [Panel(title, "", found, average=True)] if found else []
    panels = []
    for column in results.columns:
        found = [Curve(name, points) for (other, name), points in curves.items() if other == column]
        if found and column in references:
            found.append(Curve("", [], references[column]))
        if found:
            metric = f"{column} shots" if column.isdigit() else column
            panels.append(Panel(title, metric, found, average=True))
    return panels

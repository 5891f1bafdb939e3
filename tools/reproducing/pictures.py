"""Figures of studies: changes, gradients and image features of runs, through the analyses of tools/analyse.py."""

from dataclasses import replace

import numpy as np

from tools.analysing import change as numbers
from tools.analysing import figures
from tools.analysing.change import Row, as_dicts
from tools.analysing.runs import AnalysedRun, load_run
from tools.analysing.sections import Options, embedding_sections

from .blocks import Block
from .plan import Cell
from .studies import TRACED, Study

SQUARE = "The square of a tensor is the sum of the squares of its elements. Mean over the seeds of each line."
LAYERS = {  # show -> (numbers of a run, what they are, label of the y axis)
    "change": (numbers.change, "Squared difference between each tuned tensor and its value before training.",
               "squared change"),
    "gradients": (numbers.gradients, "Squared gradient of each tuned tensor, summed over all training steps.",
                  "sum of squares"),
}  # fmt: skip


def picture_block(study: Study, show: str, cells: list[Cell], done, args) -> Block:
    """Returns a figure of a study. Without runs, a block without figure that says why."""
    block = Block(f"{study.name}-{show}", study.name, study.title, "")
    runs = {}  # row -> runs of its seeds
    for cell in cells:
        if not cell.is_training and cell.job is not None:
            continue
        run = load(cell, done, block)
        if run and show in TRACED and run.trace is None:
            block.notes.append(
                f"{cell.row}: {run.path} was trained without a trace: remove it, and the same command trains it again."
            )
        elif run:
            runs.setdefault(cell.row, []).append(run)
    block.holes = len(dict.fromkeys(cell.row for cell in cells)) - len(runs)
    if not runs:
        block.caption = "No figure: no run is finished."
        return block
    try:
        DRAW[show](block, show, study, runs, args)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        block.holes += 1
        block.notes.append(f"No {show}: {' '.join(str(error).split())}")
    return block


def load(cell: Cell, done, block: Block) -> AnalysedRun | None:
    if cell.job is None or not done(cell.job):
        block.notes.append(f"{cell.row}: missing run: {cell.dataset}, seed {cell.seed}.")
        return None
    try:
        return load_run(str(cell.job.output))
    except (ValueError, OSError) as error:
        block.notes.append(f"{cell.row}: {' '.join(str(error).split())}")
        return None


def draw_layers(block: Block, show: str, study: Study, runs: dict[str, list[AnalysedRun]], args) -> None:
    """Adds a number per layer: a panel per kind of tensor, a line per row, and a table of the sums over layers."""
    rows_of, what, ylabel = LAYERS[show]
    series = {row: mean_rows([rows_of(run) for run in found]) for row, found in runs.items()}
    series = {row: [item for item in rows if wanted(item, study)] for row, rows in series.items()}
    groups = list(dict.fromkeys(item.group for rows in series.values() for item in rows))
    if not groups:
        raise ValueError(f"the runs tune no tensor of {', '.join(study.tensors)}")
    block.figure = figures.draw_layers(series, ylabel)
    block.caption = f"{what} {SQUARE}"
    block.columns = ["Sum over the layers", *groups]
    for row, rows in series.items():
        sums = [sum(item.value for item in rows if item.group == group) for group in groups]
        block.table.append([row, *(f"{value:.3g}" for value in sums)])
        block.csv += as_dicts(rows, row=row)


def mean_rows(runs: list[list[Row]]) -> list[Row]:
    """Returns the mean of each tensor's number over runs."""
    values = {}
    for rows in runs:
        for row in rows:
            values.setdefault(row.tensor, []).append(row.value)
    return [replace(row, value=float(np.mean(values[row.tensor]))) for row in runs[0]]


def wanted(row: Row, study: Study) -> bool:
    return not study.tensors or row.group.startswith(study.tensors)


def draw_iterations(block: Block, show: str, study: Study, runs: dict[str, list[AnalysedRun]], args) -> None:
    """Adds the change of each layer at every iteration, of the first row and seed."""
    row, found = next(iter(runs.items()))
    rows, values = numbers.iterations(found[0])
    kept = [i for i, item in enumerate(rows) if wanted(item, study)]
    rows, values = [rows[i] for i in kept], values[:, kept]
    block.figure = figures.draw_iterations(rows, values, found[0].trace.steps_per_epoch)
    block.caption = f"Squared change of each tuned tensor after every iteration: {row}, first seed."
    for step, line in enumerate(values.tolist(), 1):
        block.csv.append({"iteration": step, **dict(zip([item.tensor for item in rows], line, strict=True))})


def draw_embedding(block: Block, show: str, study: Study, runs: dict[str, list[AnalysedRun]], args) -> None:
    """Adds the t-SNE of the image features, zero-shot and tuned, of the first row and seed."""
    row, found = next(iter(runs.items()))
    run = found[0]
    run.label = row
    notes = []
    section = embedding_sections([run], Options(workers=0), notes)[0]
    block.figure, block.caption, block.csv = section.figure, section.caption, section.csv
    block.columns, block.table = section.columns, section.table
    block.notes += notes


DRAW = {
    "change": draw_layers, "gradients": draw_layers, "iterations": draw_iterations, "embedding": draw_embedding,
}  # fmt: skip

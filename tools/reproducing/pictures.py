"""Figures of studies: changes, gradients and image features of runs, through the analyses of tools/analyse.py."""

from dataclasses import replace

import numpy as np

from tools.analysing import change as numbers
from tools.analysing import figures
from tools.analysing.change import Row, as_dicts
from tools.analysing.runs import AnalysedRun, load_run
from tools.analysing.sections import Options, embedding_sections
from tools.shots import shots_name, shots_text

from .blocks import Block
from .plan import Cell
from .studies import TRACED, Study
from .traces import no_trace

SQUARE = "The square of a tensor is the sum of the squares of its elements."
BANDS = "Lines: mean over the seeds; bands: one population standard deviation."
LAYERS = {  # show -> (numbers of a run, what they are, label of the y axis)
    "change": (numbers.change, "Squared difference between each tuned tensor and its value before training.",
               "squared change"),
    "gradients": (numbers.gradients, "Squared gradient of each tuned tensor, summed over all training steps.",
                  "sum of squares"),
}  # fmt: skip


def picture_block(study: Study, show: str, cells: list[Cell], done, args) -> Block:
    """Returns a figure of a study. Without runs, a block without figure that says why."""
    block = Block(f"{study.name}-{show}", study.name, study.title, "")
    runs = {}  # name of a line -> seed -> run
    cells = [cell for cell in cells if cell.is_training or cell.job is None]
    names = line_names(cells)
    for cell in cells:
        run = load(cell, done, block)
        if run and show in TRACED and run.trace is None:
            block.notes.append(f"{cell.row}: {no_trace(run.path)}.")
        elif run:
            run.label = cell.row
            runs.setdefault(names[cell], {})[cell.seed] = run
    block.holes = len(set(names.values())) - len(runs)
    if not runs:
        block.caption = "No figure: no run is finished."
        return block
    try:
        DRAW[show](block, show, study, runs, args)
    except (ValueError, OSError, ModuleNotFoundError) as error:
        block.holes += 1
        block.notes.append(f"No {show}: {' '.join(str(error).split())}")
    return block


def line_names(cells: list[Cell]) -> dict[Cell, str]:
    """Returns the name of each cell's line: its row and, if there are several, its dataset and number of shots."""
    several_datasets = len({cell.dataset for cell in cells}) > 1
    several_shots = len({cell.shots for cell in cells}) > 1
    names = {}
    for cell in cells:
        parts = [cell.row, cell.dataset * several_datasets, shots_text(shots_name(cell.shots)) * several_shots]
        names[cell] = ", ".join(filter(None, parts))
    return names


def load(cell: Cell, done, block: Block) -> AnalysedRun | None:
    if cell.job is None or not done(cell.job):
        block.notes.append(f"{cell.row}: missing run: {cell.dataset}, seed {cell.seed}.")
        return None
    try:
        return load_run(str(cell.job.output))
    except (ValueError, OSError) as error:
        block.notes.append(f"{cell.row}: {' '.join(str(error).split())}")
        return None


def draw_layers(block: Block, show: str, study: Study, runs: dict[str, dict[int, AnalysedRun]], args) -> None:
    """Adds a number per layer: a panel per kind of tensor, a line per row, and a table of the sums over layers."""
    rows_of, what, ylabel = LAYERS[show]
    series, spread = {}, {}
    for name, found in runs.items():
        rows, spread[name] = over_seeds([rows_of(run) for run in found.values()])
        series[name] = [row for row in rows if wanted(row, study)]
    groups = list(dict.fromkeys(row.group for rows in series.values() for row in rows))
    if not groups:
        raise ValueError(f"the runs tune no tensor of {', '.join(study.tensors)}")
    several = any(len(found) > 1 for found in runs.values())
    block.figure = figures.draw_layers(series, ylabel, spread if several else None)
    block.caption = f"{what} {SQUARE} {BANDS if several else ''} {seeds_text(runs)}"
    block.columns = ["Sum over the layers", *groups]
    for name, rows in series.items():
        sums = [sum(row.value for row in rows if row.group == group) for group in groups]
        block.table.append([name, *(f"{value:.3g}" for value in sums)])
        block.csv += [{**line, "std": spread[name][line["tensor"]]} for line in as_dicts(rows, row=name)]


def over_seeds(runs: list[list[Row]]) -> tuple[list[Row], dict[str, float]]:
    """Returns the mean of each tensor's number over runs, and tensor -> population standard deviation."""
    values = {}
    for rows in runs:
        for row in rows:
            values.setdefault(row.tensor, []).append(row.value)
    means = [replace(row, value=float(np.mean(values[row.tensor]))) for row in runs[0]]
    return means, {tensor: float(np.std(found)) for tensor, found in values.items()}


def seeds_text(runs: dict[str, dict[int, AnalysedRun]]) -> str:
    """Returns "Seeds: 1, 2, 3.", or the seeds of each line if they differ."""
    seeds = {name: ", ".join(map(str, found)) for name, found in runs.items()}
    if len(set(seeds.values())) == 1:
        return f"Seeds: {next(iter(seeds.values()))}."
    return f"Seeds: {'; '.join(f'{name}: {text}' for name, text in seeds.items())}."


def first_run(runs: dict[str, dict[int, AnalysedRun]]) -> tuple[AnalysedRun, str]:
    """Returns the run of the first line and seed, for a picture of one run, and which one it is for the caption."""
    name, found = next(iter(runs.items()))
    seed, run = next(iter(found.items()))
    total = sum(map(len, runs.values()))
    others = f", one of {total} runs" if total > 1 else ""
    return run, f"Run: {name}, seed {seed}{others}."


def wanted(row: Row, study: Study) -> bool:
    return not study.tensors or row.group.startswith(study.tensors)


def draw_iterations(block: Block, show: str, study: Study, runs: dict[str, dict[int, AnalysedRun]], args) -> None:
    """Adds the change of each layer at every iteration, of the first row and seed."""
    run, which = first_run(runs)
    rows, values = numbers.iterations(run)
    kept = [i for i, item in enumerate(rows) if wanted(item, study)]
    rows, values = [rows[i] for i in kept], values[:, kept]
    block.figure = figures.draw_iterations(rows, values, run.trace.steps_per_epoch)
    block.caption = f"Squared change of each tuned tensor after every iteration. {which}"
    for step, line in enumerate(values.tolist(), 1):
        block.csv.append({"iteration": step, **dict(zip([item.tensor for item in rows], line, strict=True))})


def draw_embedding(block: Block, show: str, study: Study, runs: dict[str, dict[int, AnalysedRun]], args) -> None:
    """Adds the t-SNE of the image features, zero-shot and tuned, of the first row and seed."""
    run, which = first_run(runs)
    notes = []
    section = embedding_sections([run], Options(workers=0), notes)[0]
    block.figure, block.caption, block.csv = section.figure, f"{section.caption} {which}", section.csv
    block.columns, block.table = section.columns, section.table
    block.notes += notes


DRAW = {
    "change": draw_layers, "gradients": draw_layers, "iterations": draw_iterations, "embedding": draw_embedding,
}  # fmt: skip

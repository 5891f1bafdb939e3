"""The table of training efficiency, from run records: parameters, time, memory, accuracy. One table per device."""

from collections import defaultdict
from statistics import fmean

from tools.records import printable
from tools.reporting.costs import measure
from tools.reporting.published import published

from .blocks import Block
from .plan import Cell
from .results import HOLE, finished_run, results_of
from .studies import Study
from .tables import TableBuilder, average_title, missing_notes

COLUMNS = {  # title -> key of a measurement, key in the paper's results
    "Parameters": ("params", "params"),
    "ms per image": ("ms", "time_per_image"),
    "Peak MB": ("memory", None),
}
CAPTION = (
    "Parameters: tuned ones. ms per image: training time over the images seen in training, with loading. Peak MB: of "
    "the GPU, or of the process without one. Means over the trainings of a row; accuracies: {average}. "
    "Device: {device}."
)


def efficiency_blocks(study: Study, cells: list[Cell], done) -> list[Block]:
    """Returns the table of each device that runs of the study were trained on. Without runs, a table of holes."""
    found = defaultdict(lambda: defaultdict(list))  # device -> row -> measurements
    device_of = {}  # run directory of a training -> device
    for cell in cells:
        run = finished_run(cell.job.output) if cell.is_training and done(cell.job) else None
        if run:
            device = printable(run.extra.get("device") or "unknown")
            device_of[cell.job.output] = device
            found[device][cell.row].append(measure(run))
    blocks = []
    for i, device in enumerate(sorted(found) or ["none"], 1):
        block = device_block(study, cells, done, device, device_of, found[device])
        block.name = study.name if i == 1 else f"{study.name}-{i}"
        blocks.append(block)
    return blocks


def device_block(study: Study, cells: list[Cell], done, device: str, device_of: dict, found: dict) -> Block:
    """Returns the table of the runs on one device."""

    def on_device(job):
        return done(job) and device_of.get((job.training or job).output) == device

    results = results_of(study, cells, on_device)
    builder = TableBuilder(study, cells, results)
    columns, table, csv, holes = ["Method"], [], [], 0
    for title, (_, printed) in COLUMNS.items():
        columns += [title, f"{title} (paper)"] if printed and builder.with_paper else [title]
    for column in results.columns:
        columns += [column, f"{column} (paper)"] if builder.with_paper else [column]
    for row in dict.fromkeys(cell.row for cell in cells):
        measured = found.get(row, [])
        texts, unrounded = [], {"method": row, "device": device}
        method = next(other.method for other in study.rows if other.name == row)
        values = {}
        for title, (key, printed) in COLUMNS.items():
            numbers = [item[key] for item in measured if item[key] is not None]
            values[title] = (fmean(numbers) if numbers else None, printed)
        for column, stat in {column: results.average(row).get(column) for column in results.columns}.items():
            values[column] = (stat and stat.mean, column)
        for title, (value, printed) in values.items():
            holes += value is None
            texts.append(
                HOLE if value is None else f"{value:,.0f}" if title in ("Parameters", "Peak MB") else f"{value:.2f}"
            )
            unrounded[title] = value
            if printed and builder.with_paper:
                reference = published().look_up(f"CLIPFit/efficiency/{method}/{printed}")
                texts.append("" if reference is None else f"{reference:,}")
                unrounded[f"{title} paper"] = reference
        table.append([row, *texts])
        csv.append(unrounded)
    caption = CAPTION.format(average=average_title(results), device=device)
    title = study.title if device == "none" else f"{study.title}, {device}"
    return Block(study.name, study.name, title, caption, columns, table, 1, csv, None, missing_notes(results), holes)

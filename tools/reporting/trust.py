"""The table "Trust" below the table of a protocol: intervals, calibration, and the comparison with zero-shot CLIP."""

from collections import defaultdict
from statistics import fmean

from tools.records import printable
from tools.shots import shots_text

from .consistency import is_number
from .details import Block, Detail
from .rows import Row
from .run import Run
from .tables import Table, newest_runs

CAPTION = (
    "Means over seeds. Accuracy: with the 95 % interval (Wilson) that follows from the number of test images; seeds do "
    "not narrow it, as they share the images. Balanced: mean of the per-class accuracies. ECE: expected calibration "
    "error, 15 bins. NLL: negative log likelihood in nats. Brier: from 0 to 2. Zero-shot: the same of zero-shot CLIP "
    "on the same images. p: McNemar's test of the two, one per seed, or the lowest and the highest."
)
NAMES = ("accuracy", "balanced_accuracy", "ece", "nll", "brier")
COLUMNS = (
    ["Method", "", "Accuracy", "Balanced", "ECE", "NLL", "Brier"]
    + [f"Zero-shot {name}" for name in ("accuracy", "balanced", "ECE", "NLL", "Brier")]
    + ["p"]
)
FEW_SEEDS = 3  # whose p values are all listed


def trust(table: Table) -> list[Detail]:
    """Returns the table, if records have what it shows: those of earlier versions and logs have not."""
    blocks, notes, csv_rows = [], [], []
    for group in table.groups:
        rows = []
        for title in group.cells if not group.average else ():
            row = table.row(title)
            for column, runs in runs_of(row, group.title).items():
                cells, values = measure(list(runs.values()))
                label = "" if column == "Accuracy" else shots_text(column) if column.isdigit() else column
                rows.append([title, label, *cells])
                csv_rows.append({"dataset": group.title, "method": title, "column": column, **values})
                notes += warnings(runs, title, ", ".join(filter(None, (group.title, label))))
        if rows:
            blocks.append(Block(group.title, rows))
    if not blocks:
        return []
    return [
        Detail(
            "Trust", CAPTION, list(COLUMNS), blocks, list(dict.fromkeys(notes)), keys=2, name="trust", csv_rows=csv_rows
        )
    ]


def runs_of(row: Row, dataset: str) -> dict[str, dict]:
    """Returns column -> seed -> run, the newest of each seed, for the runs whose record has more than the accuracy."""
    return newest_runs([entry for entry in row.entries if entry.dataset == dataset and "ece" in metrics_of(entry.run)])


def metrics_of(run: Run) -> dict[str, float]:
    """Returns the metrics of the tested split."""
    values = (run.extra.get("metrics") or {}).get(run.split) or {}
    return {name: value for name, value in values.items() if is_number(value)}


def zero_shot_of(run: Run) -> dict:
    return (run.extra.get("trust") or {}).get("zero_shot") or {}


def measure(runs: list[Run]) -> tuple[list, dict]:
    """Returns the cells of a row from "Accuracy" on, and the row of the CSV file, unrounded."""
    own = means([metrics_of(run) for run in runs])
    zero_shot = means([zero_shot_of(run).get("metrics") or {} for run in runs])
    p_values = [run_p for run in runs if (run_p := zero_shot_of(run).get("p")) is not None]
    low, high = interval(own["accuracy"], metrics_of(runs[0]).get("total"))
    values = {
        **own, "accuracy_low": low, "accuracy_high": high,
        **{f"zero_shot_{name}": value for name, value in zero_shot.items()},
        "p_lowest": min(p_values, default=None), "p_highest": max(p_values, default=None), "seeds": len(runs),
    }  # fmt: skip
    accuracy = "?" if low is None else f"{own['accuracy']:.2f} ({low:.1f} to {high:.1f})"
    return [accuracy, *texts(own)[1:], *texts(zero_shot), p_text(p_values)], values


def means(found: list[dict]) -> dict[str, float | None]:
    """Returns the means of the metrics in NAMES; None if one is not known of all."""
    columns = {name: [values.get(name) for values in found] for name in NAMES}
    return {name: fmean(column) if all(map(is_number, column)) else None for name, column in columns.items()}


def texts(values: dict[str, float | None]) -> list[str]:
    """Returns percentages with two decimals, and NLL and Brier with three."""
    decimals = {"nll": 3, "brier": 3}
    return ["-" if value is None else f"{value:.{decimals.get(name, 2)}f}" for name, value in values.items()]


def interval(accuracy: float | None, total: float | None) -> tuple[float | None, float | None]:
    """Returns the Wilson interval of an accuracy, all in percent."""
    from trainers.common.metrics import wilson_interval  # imports NumPy

    if accuracy is None or not total:
        return None, None
    low, high = wilson_interval(accuracy / 100 * total, total)
    return 100 * low, 100 * high


def p_text(values: list[float]) -> str:
    """Returns "0.032, <1e-6", or "<1e-6 to 0.032" for many seeds."""
    shown = ["<1e-6" if value < 1e-6 else f"{value:.2g}" for value in sorted(values)]
    if len(shown) > FEW_SEEDS:
        return f"{shown[0]} to {shown[-1]}"
    return ", ".join(shown) or "-"


def warnings(runs: dict, method: str, tested: str) -> list[str]:
    """Returns one note per kind of warning, which is the text before the colon, of the runs of a row by seed.

    That few images are evaluated holds for all methods, so the note is the same for all.
    """
    from trainers.common.runs.concerns import ABOUT_IMAGES  # imports torch

    kinds = defaultdict(dict)
    for seed, run in runs.items():
        for line in (run.extra.get("trust") or {}).get("warnings") or ():
            kinds[printable(str(line)).partition(":")[0]][seed] = printable(str(line))
    notes = []
    for kind, by_seed in kinds.items():
        if ABOUT_IMAGES in kind:
            notes.append(f"{tested}: {kind}: the accuracies have wide intervals")
            continue
        seeds = ", ".join(map(str, by_seed))
        plural = "s" if len(by_seed) > 1 else ""
        notes.append(f"{method}, {tested}, seed{plural} {seeds}: {next(iter(by_seed.values()))}")
    return notes

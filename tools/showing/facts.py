"""What was done and what came out, in words and numbers, from the run record."""

import math
import shlex
from dataclasses import dataclass
from pathlib import Path

from runtime.decimals import decimals
from trainers.common.metrics import NORMAL

from .run import ShownRun

METRICS = {  # name in the record: (title, decimals, unit)
    "balanced_accuracy": ("Balanced accuracy", 2, " %"),
    "top5_accuracy": ("Top-5 accuracy", 2, " %"),
    "macro_f1": ("Macro F1", 2, " %"),
    "auroc": ("AUROC", 2, " %"),
    "ece": ("Expected calibration error", 2, " %"),
    "nll": ("Negative log likelihood", 3, ""),
    "brier": ("Brier score", 3, ""),
}


@dataclass(frozen=True)
class Result:
    """A row of the table of results: title, zero-shot CLIP, the run, the difference, and their 95 % intervals."""

    title: str
    before: str
    after: str
    difference: str
    intervals: tuple[str, str, str] = ("", "", "")


def summary(run: ShownRun) -> str:
    """Returns what was done, in a few sentences."""
    record = run.record
    seconds = record.get("train_seconds")
    took = f", {seconds:,.0f} s of training" if seconds and record.get("epochs") else ""
    images = run.metrics.get("total")
    tested = f" Tested on {images:,} {run.split} images." if images else ""
    written = f" Finished {record['written']}" if record.get("written") else ""
    revision = f", code {record['git']}" if record.get("git") else ""
    return f"{what_was_done(run)}{took} on {record.get('device', 'an unknown device')}.{tested}{written}{revision}."


def what_was_done(run: ShownRun) -> str:
    """Returns e.g. "CLIPFit trained ViT-B/16 on 16 images per class of Food101, 101 classes, seed 1, 50 epochs"."""
    record, settings, identity = run.record, run.record["settings"], run.record["identity"]
    classes = f"{len(run.classnames):,} classes" if run.classnames else "captions"
    if record["classes"] != "all":
        classes = f"the {record['classes']} classes ({classes})"
    name = record.get("name") or record["dataset"]
    source = record.get("source")
    if source:
        epoch = f", epoch {source['epoch']}" if source.get("epoch") else ""
        return f"{identity['trainer']} from {source['model_dir']}{epoch}, evaluated on {classes} of {name}"
    if not record.get("epochs"):
        prompt = identity.get("template", "")
        return f"{identity['trainer']} with {identity['backbone']} and the prompt “{prompt}” on {classes} of {name}"
    epochs = record["epochs"]
    parts = [
        f"{identity['trainer']} trained {identity['backbone']} on {training_images(record)} of {name}, {classes}",
        f"seed {record['seed']}",
        f"{epochs:,} epoch{'s' * (epochs != 1)}",
    ]
    if settings.get("OPTIM.NAME"):
        parts.append(f"{settings['OPTIM.NAME']} with a learning rate of {settings.get('OPTIM.LR', 0):g}")
    return ", ".join(parts)


def training_images(record: dict) -> str:
    shots = record["shots"]
    images = ((record.get("content") or {}).get("train_x") or {}).get("images")
    count = f" ({images:,} images)" if images else ""
    return f"{shots:,} image{'s' * (shots != 1)} per class{count}" if shots > 0 else f"all training images{count}"


def command(run: ShownRun) -> str:
    """Returns the command line of a run; "" if it was not started by train.py or `clipfit train`."""
    words = [str(word) for word in run.record.get("command") or ()]
    if words and words[0] == "clipfit train":  # as clipfit/command.py sets it
        return shlex.join(["clipfit", "train", *words[1:]])
    if not words or Path(words[0]).name != "train.py":
        return ""
    return shlex.join(["python", *words])


def results(run: ShownRun) -> list[Result]:
    """Returns the metrics of a run and those of zero-shot CLIP. The accuracies have their 95 % intervals."""
    own, before = run.metrics, run.zero_shot.get("metrics") or {}
    rows = []
    if "accuracy" in own:
        texts = [f"{values['accuracy']:.2f} %" if "accuracy" in values else "" for values in (before, own)]
        difference, interval = accuracy_difference(run)
        rows.append(Result("Accuracy", *texts, difference, (interval_of(before), interval_of(own), interval)))
    for name, (title, digits, unit) in METRICS.items():
        if own.get(name) is not None:
            values = [before.get(name), own[name]]
            texts = ["" if value is None else f"{decimals(value, digits)}{unit}" for value in values]
            change = "" if values[0] is None else decimals(values[1] - values[0], digits, "+")
            rows.append(Result(title, *texts, change))
    shown = {"accuracy", "accuracy_low", "accuracy_high", "error_rate", "total", "correct", "mce", *METRICS}
    rows += [
        Result(name.replace("_", " ").capitalize(), "", f"{value:.2f}{'' if 'rank' in name else ' %'}", "")
        for name, value in own.items()
        if name not in shown and isinstance(value, float)
    ]
    return rows


def interval_of(metrics: dict) -> str:
    """Returns "83.2 to 89.0"; "" if it is unknown."""
    low, high = metrics.get("accuracy_low"), metrics.get("accuracy_high")
    return "" if low is None or high is None else f"{low:.1f} to {high:.1f}"


def accuracy_difference(run: ShownRun) -> tuple[str, str]:
    """Returns "+5.56" and "+2.8 to +8.3": the difference of the accuracies, and its paired interval."""
    gained, lost, n = (*(run.zero_shot.get(name) for name in ("only_run", "only_zero_shot")), run.metrics.get("total"))
    if gained is None or lost is None or not n:
        return "", ""
    difference, half = paired_difference(gained, lost, n)
    low_to_high = [decimals(difference + side * half, 1, "+") for side in (-1, 1)] if half is not None else []
    return decimals(difference, 2, "+"), " to ".join(low_to_high)


def paired_difference(gained: int, lost: int, n: int) -> tuple[float, float | None]:
    """Returns the difference of two accuracies on the same n images, and the half-width of its 95 % interval, in %.

    Per image, the difference of the two is 1 (`gained` times), -1 (`lost` times) or 0.
    """
    mean = (gained - lost) / n
    if n < 2:
        return 100 * mean, None
    variance = (gained + lost - n * mean**2) / (n - 1)
    return 100 * mean, 100 * NORMAL * math.sqrt(max(0.0, variance) / n)

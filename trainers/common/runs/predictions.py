"""What an evaluation tells beyond its accuracy: more metrics, predictions.csv, the comparison with zero-shot CLIP.

The outcome of each image is computed from the logits that the evaluator gets anyway. No image is encoded twice.
"""

from __future__ import annotations

import csv
import hashlib
import io
import os

import numpy as np
import torch

from .. import metrics
from ..classes import distinct
from ..outcomes import Outcomes, join, of_batch, summary
from .concerns import concerns, zero_shot_line
from .files import write_atomically

COLUMNS = ("path", "true_class", "predicted_class", "probability", "probability_of_true_class")
ZERO_SHOT_COLUMNS = ("zero_shot_class", "zero_shot_probability")  # if zero-shot CLIP was evaluated too


class Collector:
    """Collects the outcomes of an evaluation, batch by batch, on the device of the logits."""

    def __init__(self):
        self.batches: list[Outcomes] = []
        self.n_cls = 0
        self.unknown = False  # whether something else than logits and labels was evaluated

    def add(self, logits, labels=None, *args, **kwargs) -> None:
        """Adds a batch: logits (B, n_cls) and labels (B,). Other values, which some evaluators process, are noted."""
        usual = isinstance(logits, torch.Tensor) and isinstance(labels, torch.Tensor)
        if not usual or logits.dim() != 2 or labels.shape != logits.shape[:1] or labels.is_floating_point():
            self.unknown = True
        elif len(labels):
            self.n_cls = logits.shape[1]
            self.batches.append(of_batch(logits, labels))

    def outcomes(self) -> Outcomes | None:
        """Returns the outcomes of all images; None if there are none, or if something else was evaluated."""
        return None if self.unknown or not self.batches else join(self.batches)


def add_metrics(results: dict[str, float], found: Outcomes, n_cls: int) -> None:
    """Adds the metrics of an evaluation to its results, except those that are not defined or that it has."""
    for name, value in summary(found, n_cls).items():
        if value is not None:
            results.setdefault(name, value)


def trust(
    found: Outcomes, zero_shot: tuple[Outcomes, dict] | None, classnames: list[str], written: dict | None
) -> dict:
    """Returns the field `trust` of the run record, and prints it.

    Args:
        zero_shot: outcomes of zero-shot CLIP for the same images, and what to record of it; None if unknown.
        written: `write_csv`'s result; None if no file was written.
    """
    n_cls = len(classnames)
    result = {
        "predictions": written,
        "per_class": {"images": class_counts(found.labels, n_cls), "correct": correct_per_class(found, n_cls)},
        "zero_shot": None,
        "warnings": concerns(found, zero_shot and zero_shot[0], classnames),
    }
    print(summary_line(found, n_cls))
    if zero_shot:
        only_run, only_zero_shot, p = metrics.mcnemar(found.correct, zero_shot[0].correct)
        values = summary(zero_shot[0], n_cls)
        result["zero_shot"] = {
            **zero_shot[1],
            "metrics": {name: value for name, value in values.items() if value is not None},
            "correct": correct_per_class(zero_shot[0], n_cls),
            "only_run": only_run,
            "only_zero_shot": only_zero_shot,
            "p": p,
        }
        print(zero_shot_line(values["accuracy"], only_run, only_zero_shot, p))
    for line in result["warnings"]:
        print(f"WARNING: {line}")
    return result


def summary_line(found: Outcomes, n_cls: int) -> str:
    """Returns the line of the log with the metrics that Dassl's evaluator does not print."""
    values = summary(found, n_cls)
    parts = [
        f"95 % interval of the accuracy {values['accuracy_low']:.2f} to {values['accuracy_high']:.2f} %",
        f"balanced {values['balanced_accuracy']:.2f} %",
    ]
    for name, title in (("top5_accuracy", "top-5"), ("auroc", "AUROC"), ("ece", "ECE")):
        if values[name] is not None:
            parts.append(f"{title} {values[name]:.2f} %")
    parts += [f"NLL {values['nll']:.3f}"] if values["nll"] is not None else []
    return f"Metrics: {', '.join(parts)}, Brier {values['brier']:.3f}"


def class_counts(labels: np.ndarray, n_cls: int) -> list[int]:
    """Returns the number of images of each class (n_cls)."""
    return np.bincount(labels, minlength=n_cls).tolist()


def correct_per_class(found: Outcomes, n_cls: int) -> list[int]:
    """Returns the number of correctly classified images of each class (n_cls)."""
    return class_counts(found.labels[found.correct], n_cls)


def write_csv(
    path: str, found: Outcomes, items, root: str, classnames: list[str], zero_shot: Outcomes | None = None
) -> dict:
    """Writes one row per image, atomically. Returns the name of the file, its SHA-256 and the number of rows.

    Args:
        items: the images of a Dassl dataset, in the order of the outcomes.
        root: paths are relative to this folder if they are below it.
        zero_shot: outcomes of zero-shot CLIP for the same images; None if unknown.
    """
    names = distinct(classnames)
    prefix = os.path.join(os.path.abspath(os.path.expanduser(root)), "") if root else ""
    columns = [
        [relative(item.impath, prefix) for item in items],
        [names[label] for label in found.labels.tolist()],
        [names[label] for label in found.predicted.tolist()],
        rounded(found.confidence),
        rounded(found.true_probability),
    ]
    if zero_shot is not None:
        columns += [[names[label] for label in zero_shot.predicted.tolist()], rounded(zero_shot.confidence)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow((COLUMNS + ZERO_SHOT_COLUMNS)[: len(columns)])
    writer.writerows(zip(*columns))
    content = text.getvalue().encode()
    write_atomically(path, content)
    return {"file": os.path.basename(path), "sha256": hashlib.sha256(content).hexdigest(), "images": len(found)}


def rounded(probabilities: np.ndarray) -> list[str]:
    return [f"{probability:.7g}" for probability in probabilities.tolist()]


def relative(path: str, prefix: str) -> str:
    """Returns a path without the folder `prefix`, with forward slashes. `os.path.relpath` would take seconds."""
    absolute = path if os.path.isabs(path) else os.path.abspath(path)
    return (absolute[len(prefix) :] if prefix and absolute.startswith(prefix) else path).replace(os.sep, "/")

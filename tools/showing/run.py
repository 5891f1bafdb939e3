"""Reads what a run has written: its record, its predictions and its curves."""

import csv
import hashlib
import io
import os
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from tools.records import printable, read_json
from trainers.common.classes import distinct
from trainers.common.runs import curves, predictions
from trainers.common.runs.log_lines import read_text
from trainers.common.runs.nearby import hint
from trainers.common.runs.record_schema import FILE, check

UNKNOWN_FORM = "it does not have the rows of this run"


@dataclass(frozen=True)
class Predicted:
    """The predictions of N test images.

    Attributes:
        paths: as in predictions.csv.
        labels, predicted: (N,) true and predicted class.
        probability: (N,) probability of the predicted class.
        zero_shot: (N,) class that zero-shot CLIP predicts; None if unknown.
        zero_shot_probability: (N,) its probability.
    """

    paths: list[str]
    labels: np.ndarray
    predicted: np.ndarray
    probability: np.ndarray
    zero_shot: np.ndarray | None = None
    zero_shot_probability: np.ndarray | None = None

    @property
    def correct(self) -> np.ndarray:
        return self.predicted == self.labels


@dataclass
class ShownRun:
    """A finished run.

    Attributes:
        path: the run as the user named it.
        folder: the run directory.
        file: name of the record in it.
        record: its content.
        tested: None if the predictions are unknown.
        curves: a dict of scalars per epoch.
        missing: what the page cannot show, and why.
    """

    path: str
    folder: Path
    file: str
    record: dict
    tested: Predicted | None = None
    curves: list[dict] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)

    @property
    def classnames(self) -> list[str]:
        """Class names, in order; each is unique."""
        return distinct(self.record["identity"].get("classnames") or [])

    @property
    def trust(self) -> dict:
        return self.record.get("trust") or {}

    @property
    def zero_shot(self) -> dict:
        """What the record says about zero-shot CLIP on the same images; {} if nothing."""
        return self.trust.get("zero_shot") or {}

    @property
    def metrics(self) -> dict:
        """The metrics of the tested split."""
        return next(iter(self.record["metrics"].values()), {})

    @property
    def trained(self) -> bool:
        """Whether it is a training on images, not an evaluation or zero-shot CLIP."""
        record = self.record
        return bool(record.get("epochs")) and not record["eval_only"] and not record["identity"].get("zero_shot")

    @property
    def exif(self) -> str:
        """What the run does with the orientation of its images: "apply" or "ignore"."""
        return self.record["settings"].get("INPUT.EXIF_ORIENTATION", "ignore")

    @property
    def split(self) -> str:
        return next(iter(self.record["metrics"]), "test")


def read_run(path: str) -> ShownRun:
    """Reads a run directory, or a record in it such as evaluation-Digits-new-test.json.

    Raises:
        FileNotFoundError: there is no record.
        ValueError: it is corrupted, or the run is not finished.
    """
    file = Path(path) / FILE if os.path.isdir(path) else Path(path)
    if not file.is_file():
        raise FileNotFoundError(f"no run at {path}: give a run directory, which contains {FILE}{hint(path)}")
    try:
        record = read_json(file)
        check(record)
    except ValueError as error:
        raise ValueError(f"{file} cannot be read as the record of a run: {printable(error)}") from error
    if not record["finished"]:
        raise ValueError(f"{path} is not finished: run its command again to resume it, then show it")
    run = ShownRun(path, file.parent, file.name, record)
    run.tested = read_predictions(run)
    if run.trained:
        run.curves = curves.read(str(run.folder))
        if not run.curves:
            reason = "its method has no gradient steps, or an earlier version trained it"
            run.missing.append(f"Training curves: {run.folder} has no {curves.FILE}, as {reason}.")
    return run


def read_predictions(run: ShownRun) -> Predicted | None:
    """Returns the predictions of a run; None, and a line in `missing`, if its file is missing or was changed."""
    written = run.trust.get("predictions")
    if not written:
        run.missing.append("Images and confusion matrix: the run has no predictions.csv.")
        return None
    path = run.folder / os.path.basename(str(written.get("file")))
    try:
        text = read_text(path)
        if hashlib.sha256(text.encode()).hexdigest() != written.get("sha256"):
            raise ValueError("it was changed after the run")
        return parse(text, run.classnames)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        run.missing.append(f"Images and confusion matrix: cannot use {path}: {printable(reason)}.")
        return None


def parse(text: str, classnames: list[str]) -> Predicted:
    """Returns the content of predictions.csv. Raises ValueError if it has another form or other classes."""
    rows = list(csv.reader(io.StringIO(text)))
    header = tuple(rows[0]) if rows else ()
    if header[:5] != predictions.COLUMNS or header[5:] not in ((), predictions.ZERO_SHOT_COLUMNS):
        raise ValueError(UNKNOWN_FORM)
    number = {name: label for label, name in enumerate(classnames)}
    if len(rows) < 2 or any(len(row) != len(header) for row in rows):
        raise ValueError(UNKNOWN_FORM)
    columns = list(zip(*rows[1:], strict=True))
    try:
        classes = [np.array([number[name] for name in columns[i]]) for i in (1, 2, 5) if i < len(columns)]
    except KeyError as error:
        raise ValueError(f"the run has no class {error}") from error
    probabilities = [np.array(columns[i], dtype=float) for i in (3, 6) if i < len(columns)]
    return Predicted(list(columns[0]), *classes[:2], probabilities[0], *classes[2:], *probabilities[1:])

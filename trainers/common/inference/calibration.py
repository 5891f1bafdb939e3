"""calibration.json in a run directory: the temperature and the conformal scores that tools/calibrate.py found.

A calibration holds for one model with one set of classes: `model_identity` says what that is. Another checkpoint,
other prompts, other classes or other settings are another model, whose calibration is another one.
"""

from __future__ import annotations

import glob
import hashlib
import json
import os
from dataclasses import dataclass

import numpy as np

from ..classes import shorten
from ..runs import record
from ..runs.digest import digest
from ..runs.files import write_atomically
from ..runs.log_lines import read_text
from .conformal import Score, threshold

NAME = "calibration.json"
FORMAT = 1
HOW = "python tools/calibrate.py"


@dataclass(frozen=True)
class Calibration:
    """The calibration of a model.

    Attributes:
        temperature: divides the logits; 1.0 if none could be fitted.
        score: the conformal score; it is of the probabilities at temperature 1.
        scores: scores (n,) of the true classes of the calibration images, ascending.
        path: the file.
    """

    temperature: float
    score: Score
    scores: np.ndarray
    path: str

    def sets(self, logits, coverage: float = 0.9, generator: np.random.Generator | None = None) -> np.ndarray:
        """Returns which classes are in the prediction set of each image, bool (B, n_cls). A set may be empty.

        Args:
            logits: (B, n_cls), a tensor on the CPU or an array.
            generator: of the random numbers of the scores aps and raps, `score.generator()`. Images that are predicted
                in several calls need one generator for all of them.

        Raises:
            ValueError: there are too few calibration images for this coverage.
        """
        return self.score.sets(probabilities(logits), self.threshold(coverage), generator or self.score.generator())

    def threshold(self, coverage: float) -> float:
        """Returns the threshold of the score. Raises ValueError if there are too few images for the coverage."""
        try:
            return threshold(self.scores, coverage)
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}; use a smaller coverage, or more images ({HOW})") from error


def probabilities(logits, temperature: float = 1.0) -> np.ndarray:
    """Returns the probabilities (B, n_cls) of logits, float64."""
    from scipy.special import softmax

    return softmax(np.asarray(logits, dtype=np.float64) / temperature, axis=1)


def model_identity(state: dict, trainer, classnames: list[str]) -> dict:
    """Returns what the logits of a finished run depend on, apart from the image.

    Args:
        state: its tuned weights with their metadata.
        trainer: the method, whose prompts may be others than those of the training.
    """
    return {
        "method": state["meta"]["trainer"],
        "weights": digest(state["state_dict"]),
        "backbone": trainer.clip.fingerprint,
        "classnames": list(classnames),
        "prompts": sha256(trainer.prompts),
        "settings": sha256(state["settings"]),
    }


def sha256(value) -> str:
    """Returns the SHA-256 of a JSON value, 64 hex digits."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def run_folder(file: str) -> str:
    """Returns the folder of the calibrations of a run, given the file that `read_run` read it from.

    It is the run directory, or the folder of the file if that is not in a run directory.
    """
    if os.path.isdir(file):
        return file
    folder = os.path.dirname(file) or "."
    parent = os.path.dirname(os.path.abspath(folder))
    return os.path.normpath(os.path.join(folder, "..")) if os.path.isfile(os.path.join(parent, record.FILE)) else folder


def save(content: dict, path: str) -> None:
    """Writes a calibration with its digest, atomically."""
    content = {"format": FORMAT, **content}
    write_atomically(path, json.dumps({**content, "digest": sha256(content)}, indent=1) + "\n")


def read(path: str) -> dict:
    """Returns the content of a calibration.

    Raises:
        OSError: it cannot be read.
        ValueError: it was not written by `save`, or was changed after it was written.
    """
    try:
        content = json.loads(read_text(path))
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or content.pop("digest", None) != sha256(content):
        raise ValueError(f"{path} is corrupted, or was changed after it was written: run {HOW} again")
    if content["format"] != FORMAT:
        raise ValueError(f"{path} was written by another version of this code: run {HOW} again")
    return content


def find_calibration(file: str, identity: dict) -> Calibration:
    """Returns the calibration of a model.

    Args:
        file: the file that the run was read from.
        identity: of the model, see `model_identity`.

    Raises:
        FileNotFoundError: the run has no calibration.
        ValueError: those that it has are of other models, or corrupted; the message says of which.
    """
    folder = run_folder(file)
    paths = sorted(glob.glob(os.path.join(glob.escape(folder), NAME.replace(".json", "*.json"))))
    if not paths:
        raise FileNotFoundError(f"{folder} has no {NAME}: make it with {HOW} {folder}")
    reasons = []
    for path in paths:
        content = read(path)
        reason = difference(content["model"], identity)
        if not reason:
            conformal = content["conformal"]
            score = Score(**conformal["score"])
            return Calibration(content["temperature"], score, np.array(conformal["scores"], dtype=np.float64), path)
        reasons.append(f"{path} is not of this model: {reason}")
    raise ValueError(f"{reasons[0]}; {HOW} {folder} calibrates the run with its own classes and prompts")


def difference(old: dict, new: dict) -> str:
    """Returns in what the identities of two models differ; "" if they are equal."""
    if old["classnames"] != new["classnames"]:
        return f"its classes are {shorten(old['classnames'])}, these are {shorten(new['classnames'])}"
    if (old["method"], old["backbone"]) != (new["method"], new["backbone"]):
        return f"it is of {old['method']} on {old['backbone']}, this is {new['method']} on {new['backbone']}"
    reasons = {
        "prompts": "it is of other prompts (--template)",
        "weights": "it is of other tuned weights (--epoch, or another training in this folder)",
        "settings": "it is of other settings (another training in this folder)",
    }
    return next((reason for key, reason in reasons.items() if old[key] != new[key]), "")

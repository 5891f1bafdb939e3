"""Reads and writes choice.json: which value of a varied key was chosen on validation images, and from which.

The file is in the run directory of each test of the chosen run:

    {"split": "val", "chosen": 1, "candidates": [
        {"values": {"TRAINER.CLIPFIT.BETA": "2.0"}, "accuracy": 84.2, "run": "../../micro_ep100_BETA=2.0_val/seed1"},
        {"values": {"TRAINER.CLIPFIT.BETA": "8.0"}, "accuracy": 86.1, "run": "../../micro_ep100_val/seed1"}]}

`accuracy` is in percent, on the images of `split`. `run` is the candidate's run directory, relative to the file's
folder. `chosen` is the index of the best candidate, of equal ones the first.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from tools.records import printable, read_json

FILE = "choice.json"
SPLIT = "val"


@dataclass(frozen=True)
class Candidate:
    """A run that could be chosen.

    Attributes:
        values: varied key -> value, as text.
        accuracy: on validation images, in percent.
        folder: run directory.
    """

    values: dict[str, str]
    accuracy: float
    folder: Path


@dataclass(frozen=True)
class Choice:
    candidates: tuple[Candidate, ...]

    @property
    def index(self) -> int:
        """The index of the best candidate; of equal ones, the first."""
        accuracies = [candidate.accuracy for candidate in self.candidates]
        return accuracies.index(max(accuracies))

    @property
    def chosen(self) -> Candidate:
        return self.candidates[self.index]

    @property
    def ties(self) -> list[Candidate]:
        """The other candidates that are as good as the chosen one."""
        best = self.chosen
        return [other for other in self.candidates if other.accuracy == best.accuracy and other is not best]

    def values_of(self, key: str) -> list[str]:
        return list(dict.fromkeys(candidate.values[key] for candidate in self.candidates))


def write(choice: Choice, folder: Path) -> None:
    """Writes the file, unless it is there with the same content."""
    from trainers.common.runs.files import write_atomically

    candidates = []
    for candidate in choice.candidates:
        run = os.path.relpath(candidate.folder, folder)
        candidates.append({"values": candidate.values, "accuracy": candidate.accuracy, "run": run})
    content = json.dumps({"split": SPLIT, "chosen": choice.index, "candidates": candidates}, indent=1) + "\n"
    path = folder / FILE
    if not path.is_file() or path.read_text(encoding="utf-8") != content:
        folder.mkdir(parents=True, exist_ok=True)
        write_atomically(str(path), content)


def read(folder: Path) -> Choice | None:
    """Returns the choice of a run directory; None if it has none.

    Raises:
        ValueError: the file is not such a file, or the chosen candidate is not the best.
        OSError: it cannot be read.
    """
    path = folder / FILE
    if not os.path.lexists(path):
        return None
    content = read_json(path)
    try:
        candidates = []
        for entry in content["candidates"]:
            values = {printable(key): printable(value) for key, value in entry["values"].items()}
            candidates.append(Candidate(values, float(entry["accuracy"]), folder / entry["run"]))
        choice = Choice(tuple(candidates))
        same_keys = {frozenset(candidate.values) for candidate in candidates}
        valid = len(same_keys) == 1 and content["split"] == SPLIT and content["chosen"] == choice.index
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"not a valid {FILE} ({type(error).__name__}: {error})") from error
    if not valid:
        raise ValueError(f"not a valid {FILE}: the chosen candidate is not the first of the best on {SPLIT}")
    return choice

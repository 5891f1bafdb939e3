"""Results of one model in one condition, each in a file of its own, so that a killed evaluation can resume."""

import base64
import json
import os
from dataclasses import dataclass

import numpy as np

from tools.records import read_json
from trainers.common.runs.digest import digest
from trainers.common.runs.files import write_atomically

from .catalogue import Condition


@dataclass(frozen=True)
class Result:
    """Attributes:
    correct: (n,) whether each image is predicted correctly.
    pixels: digest of the pixels of all images; equal on two machines if these have corrupted them equally.
    """

    correct: np.ndarray
    pixels: str

    @property
    def accuracy(self) -> float:
        """In percent."""
        return 100 * float(self.correct.mean())


class ResultFolder:
    """The results of one model: <folder>/<digest>/<condition>.json.

    Args:
        identity: everything that the results depend on apart from the condition, as JSON values.
    """

    def __init__(self, folder: str, identity: dict):
        self.identity = identity
        self.folder = os.path.join(folder, digest(identity)[:16])

    def path(self, condition: Condition) -> str:
        return os.path.join(self.folder, f"{condition.name}_{condition.level}.json")

    def read(self, condition: Condition, source: dict) -> Result | None:
        """Returns the result in a condition; None if there is none with the same `source` of the pixels.

        A corrupted file is ignored, with a note.
        """
        path = self.path(condition)
        if not os.path.isfile(path):
            return None
        try:
            content = read_json(path)
            n = content["images"]
            bits = np.frombuffer(base64.b64decode(content["correct"], validate=True), np.uint8)
            correct = np.unpackbits(bits, count=n).astype(bool)
            if len(correct) != n or n < 1 or len(bits) != -(-n // 8) or not isinstance(content["pixels"], str):
                raise ValueError("another number of images")
        except (ValueError, KeyError, TypeError, OSError) as error:
            print(f"Note: {path} is corrupted ({type(error).__name__}): it is computed again")
            return None
        return Result(correct, content["pixels"]) if content.get("source") == source else None

    def write(self, condition: Condition, source: dict, result: Result, seconds: float) -> None:
        content = {
            "condition": condition.name,
            "level": condition.level,
            "accuracy": result.accuracy,
            "images": len(result.correct),
            "correct": base64.b64encode(np.packbits(result.correct).tobytes()).decode(),
            "pixels": result.pixels,
            "source": source,
            "seconds": round(seconds, 3),
        }
        about = os.path.join(self.folder, "about.json")
        if not os.path.isfile(about):
            write_atomically(about, json.dumps(self.identity, indent=1) + "\n")
        write_atomically(self.path(condition), json.dumps(content, indent=1) + "\n")

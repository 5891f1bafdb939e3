"""The cost of trainings, from their records and tuned weights: parameters, time, memory."""

import json
import math
import struct
from dataclasses import dataclass
from statistics import fmean

from tools.records import printable
from trainers.common.runs.tuned_weights import NAME
from trainers.common.schedule import iterations

from .run import Run

MAX_HEADER = 100_000_000  # bytes; safetensors' own limit


@dataclass(frozen=True)
class Cost:
    """Means over trainings. A value is None if it is not known of any of them.

    Attributes:
        parameters: tuned parameters.
        seconds: training time per run.
        ms: training time per image seen, with loading.
        memory: peak MB of the GPU, or of the process without one.
        devices: that the trainings ran on.
    """

    parameters: float | None
    seconds: float | None
    ms: float | None
    memory: float | None
    devices: tuple[str, ...] = ()


def cost_of(trainings: list[Run]) -> Cost:
    """Returns the mean cost of trainings."""
    measured = [measure(run) for run in trainings]

    def mean(key):
        values = [item[key] for item in measured if item[key] is not None]
        return fmean(values) if values else None

    devices = dict.fromkeys(printable(run.extra.get("device") or "unknown") for run in trainings)
    return Cost(mean("params"), mean("seconds"), mean("ms"), mean("memory"), tuple(devices))


def measure(run: Run) -> dict[str, float | None]:
    """Returns the measurements of a training."""
    images = ((run.extra.get("content") or {}).get("train_x") or {}).get("images")
    seconds, epochs = run.extra.get("train_seconds"), run.extra.get("epochs")
    try:
        seen = images_trained(run.training.settings or {}, images or 0, epochs or 0)
    except (KeyError, TypeError, ValueError):  # a record of other code
        seen = 0
    ms = 1000 * seconds / seen if seen and seconds is not None else None
    return {"params": parameters(run.folder), "seconds": seconds, "ms": ms, "memory": run.extra.get("peak_memory_mb")}


def images_trained(settings: dict, images: int, epochs: int) -> int:
    """Returns the number of images that a training has seen. `images`: number of training images."""
    steps = iterations(settings.get("OPTIM.ITERATIONS", ""), settings.get("DATASET.NUM_SHOTS", -1))
    return steps * min(images, settings["DATALOADER.TRAIN_X.BATCH_SIZE"]) if steps else images * epochs


def parameters(folder) -> int | None:
    """Returns the number of tuned parameters of a run, or None if its weights cannot be read.

    Reads the shapes in the header of the file only: a length of eight bytes, and JSON with an entry per tensor.
    """
    files = sorted(folder.glob(f"*/{NAME}"))
    try:
        with open(files[0], "rb") as file:
            (length,) = struct.unpack("<Q", file.read(8))
            text = file.read(min(length, MAX_HEADER))
        if len(text) < length:
            return None
        header = json.loads(text)
        return sum(math.prod(entry["shape"]) for name, entry in header.items() if name != "__metadata__")
    except (IndexError, OSError, ValueError, KeyError, TypeError, AttributeError, struct.error):
        return None

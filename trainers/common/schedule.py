"""How long a run trains, and when the learning rate changes: by epochs, or by iterations (OPTIM.ITERATIONS).

An iteration is one step of the optimiser, on one batch. By epochs, the learning rate changes after each epoch, as in
Dassl; by iterations, after each iteration, and the last epoch ends with the last iteration.
"""

from __future__ import annotations

import functools
import itertools
import re

from dassl.config import cfg_default
from dassl.optim import build_lr_scheduler

# Iterations to train, instead of MAX_EPOCH epochs: a number, e.g. "8000", or "500 per shot"
cfg_default.OPTIM.ITERATIONS = ""
cfg_default.OPTIM.MIN_LR = 0.0  # learning rate at the end of the cosine schedule


@functools.lru_cache(maxsize=None)  # asked for in every step
def iterations(text: str, shots: int) -> int | None:
    """Returns the number of iterations for a value of OPTIM.ITERATIONS; None if it is empty.

    Raises ValueError if the text is none of the two forms, or "per shot" is asked for all images (`shots` below 1).
    """
    match = re.fullmatch(r"\s*([1-9]\d*)\s*(per shot)?\s*", text)
    if not match:
        if text.strip():
            raise ValueError(f'OPTIM.ITERATIONS must be a number above 0, "N per shot" or empty, got {text!r}')
        return None
    number, per_shot = match.groups()
    if per_shot and shots < 1:
        raise ValueError(
            f"OPTIM.ITERATIONS {text!r} needs a number of shots, but DATASET.NUM_SHOTS is {shots} (all images): set it "
            'to a number of iterations, or to "" to train for OPTIM.MAX_EPOCH epochs'
        )
    return int(number) * (shots if per_shot else 1)


def check(cfg) -> None:
    """Raises ValueError if OPTIM.ITERATIONS or OPTIM.MIN_LR is not allowed."""
    iterations(cfg.OPTIM.ITERATIONS, max(1, cfg.DATASET.NUM_SHOTS))
    minimum = cfg.OPTIM.MIN_LR
    if not 0 <= minimum <= cfg.OPTIM.LR:
        raise ValueError(f"OPTIM.MIN_LR must be from 0 to OPTIM.LR ({cfg.OPTIM.LR:g}), got {minimum:g}")
    if minimum and cfg.OPTIM.LR_SCHEDULER != "cosine":
        raise ValueError(f"OPTIM.MIN_LR {minimum:g} needs OPTIM.LR_SCHEDULER cosine, got {cfg.OPTIM.LR_SCHEDULER}")


def length(trainer) -> int | None:
    """Returns the number of iterations of a run; None if it is trained by epochs."""
    return iterations(trainer.cfg.OPTIM.ITERATIONS, trainer.cfg.DATASET.NUM_SHOTS)


def epochs(trainer) -> int:
    """Returns the number of epochs that are started."""
    wanted, loader = length(trainer), getattr(trainer, "train_loader_x", None)  # no loader: a finished run
    return trainer.cfg.OPTIM.MAX_EPOCH if None in (wanted, loader) else -(-wanted // len(loader))


def total(trainer) -> int:
    """Returns the number of iterations of a run, however its length is given."""
    return length(trainer) or trainer.cfg.OPTIM.MAX_EPOCH * len(trainer.train_loader_x)


def changes_per_iteration(trainer) -> bool:
    """Whether the learning rate changes after each iteration, not after each epoch."""
    return trainer.lr_per_iteration or bool(length(trainer))


def build(trainer, optimizer, steps: int | None = None):
    """Builds the schedule of OPTIM for an optimiser. `update_lr` advances it.

    Args:
        steps: Its length in iterations; default: that of the run. Only if it changes per iteration.
    """
    optim = trainer.cfg.OPTIM.clone()
    if changes_per_iteration(trainer):
        batches = len(trainer.train_loader_x)
        optim.defrost()
        optim.MAX_EPOCH = steps or total(trainer)
        optim.WARMUP_EPOCH *= batches
        if isinstance(optim.STEPSIZE, (list, tuple)):
            optim.STEPSIZE = type(optim.STEPSIZE)(size * batches for size in optim.STEPSIZE)
    schedule = build_lr_scheduler(optimizer, optim)
    if optim.MIN_LR:
        getattr(schedule, "successor", schedule).eta_min = optim.MIN_LR
    return schedule


class FirstBatches:
    """A loader that ends after `number` batches. Its length is that of the whole: the last epoch is cut off."""

    def __init__(self, loader, number: int):
        self.loader = loader
        self.number = number

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self):
        return itertools.islice(iter(self.loader), self.number)

    def __getattr__(self, name: str):
        return getattr(self.loader, name)


def loader_of_epoch(trainer):
    """Returns the training loader of the current epoch, which is shorter if the iterations end within the epoch."""
    loader, wanted = trainer.train_loader_x, length(trainer)
    left = None if wanted is None else wanted - trainer.epoch * len(loader)
    return loader if left is None or left >= len(loader) else FirstBatches(loader, left)

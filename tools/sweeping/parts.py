"""Estimates how long a run takes from measured parts of runs on other datasets: start, training step, tested image.

A part is measured by any finished run of the same method, backbone and precision. It depends on the number of classes:
between two measured numbers it is interpolated, beyond them it is that of the nearest.
"""

import contextlib
from collections import defaultdict
from statistics import fmean
from typing import NamedTuple

from tools.records import instant


class Size(NamedTuple):
    """What the time of a run depends on. A value is None if it is not known."""

    classes: int | None
    train: int | None  # images
    test: int | None


class Parts:
    """Seconds per step, per tested image and per start, of finished runs.

    Attributes:
        steps, images: kind of run -> [(number of classes, seconds)].
        starts: seconds of each run outside training and test, without the start of Python.
        periods: (start, end) of each run, in seconds since 1970.
    """

    def __init__(self):
        self.steps = defaultdict(list)
        self.images = defaultdict(list)
        self.starts = []
        self.periods = []

    def add(self, result: dict) -> None:
        """Adds the record of a finished run, unless it is one of other code without the needed fields."""
        with contextlib.suppress(KeyError, TypeError, ValueError, AttributeError):
            self._add(result)

    def _add(self, result: dict) -> None:
        settings, size = result["settings"], recorded_size(result)
        train_seconds, test_seconds = result.get("train_seconds") or 0.0, result.get("test_seconds") or 0.0
        steps = number_of_steps(settings, size) if train_seconds and has_steps(settings) else None
        if steps and size.classes:
            self.steps[kind(settings, result, training=True)].append((size.classes, train_seconds / steps))
        if size.test and size.classes:
            self.images[kind(settings, result)].append((size.classes, test_seconds / size.test))
        started, written = instant(result.get("started")), instant(result.get("written"))
        if started is not None and written is not None and written - started >= train_seconds + test_seconds:
            self.starts.append(written - started - train_seconds - test_seconds)  # not of a resumed run
            self.periods.append((started, written))

    def seconds(self, expected: dict, training: bool) -> float | None:
        """Returns the expected time of a run, or None if one of its parts is not measured, or its size not known.

        Args:
            expected: `state.expected_record` of its job.
            training: Whether it trains; if not, it is an evaluation or zero-shot CLIP.
        """
        settings, size = expected["settings"], published_size(expected["settings"])
        if None in (size.classes, size.test):
            return None
        total = fmean(self.starts) if self.starts else 0.0
        steps = number_of_steps(settings, size) if training and has_steps(settings) else None
        needed = [(self.images.get(kind(settings, expected)), size.test)]
        if training:
            needed.append((self.steps.get(kind(settings, expected, training=True)), steps))
        for measured, number in needed:
            if not measured or number is None:
                return None
            total += number * interpolated(measured, size.classes)
        return total

    def at_a_time(self) -> float | None:
        """Returns how many of the measured runs ran at a time, on average; None without times."""
        covered, end = 0.0, 0.0
        for started, written in sorted(self.periods):
            covered += max(0.0, written - max(started, end))
            end = max(end, written)
        return sum(written - started for started, written in self.periods) / covered if covered else None


def kind(settings: dict, run: dict, training: bool = False) -> tuple:
    """Returns what two runs have in common if a part takes equally long in both.

    Args:
        settings: of the run.
        run: its record, or its expected record.
    """
    backbone = run["backbone"] if "backbone" in run else run["identity"].get("backbone")
    precisions = tuple(sorted((key, value) for key, value in settings.items() if key.endswith(".PREC")))
    batch = settings.get("DATALOADER.TRAIN_X.BATCH_SIZE") if training else None
    return settings.get("TRAINER.NAME"), backbone, precisions, batch


def has_steps(settings: dict) -> bool:
    """Whether the method is trained in steps on batches of images, so that their number tells its time."""
    from dassl.engine import TRAINER_REGISTRY
    from trainers.common.feature_trainer import FeatureTrainer

    name = settings.get("TRAINER.NAME")
    if name not in TRAINER_REGISTRY.registered_names():
        return False
    return not issubclass(TRAINER_REGISTRY.get(name), FeatureTrainer)


def number_of_steps(settings: dict, size: Size) -> int | None:
    """Returns the steps of a training. The last batch of an epoch is left out unless it is full, or the only one."""
    from trainers.common.schedule import iterations

    steps = iterations(settings.get("OPTIM.ITERATIONS", ""), settings.get("DATASET.NUM_SHOTS", -1))
    if steps or not size.train:
        return steps
    return settings["OPTIM.MAX_EPOCH"] * max(1, size.train // settings["DATALOADER.TRAIN_X.BATCH_SIZE"])


def recorded_size(result: dict) -> Size:
    """Returns the size of a finished run."""
    classes = len((result.get("identity") or {}).get("classnames") or ()) or None
    train = ((result.get("content") or {}).get("train_x") or {}).get("images")
    split = (result.get("evaluation") or {}).get("split")
    return Size(classes, train, ((result.get("metrics") or {}).get(split) or {}).get("total"))


def published_size(settings: dict) -> Size:
    """Returns the size of a run from the published numbers of its dataset.

    Base classes are the first half of the classes; they are taken to have their share of the images.
    """
    from datasets import catalogue

    entry = catalogue.entries().get(settings.get("DATASET.NAME"))
    classes, train, _, test = (*(entry.counts if entry else ()), None, None, None, None)[:4]
    if classes is None:
        return Size(None, None, None)
    shots, subset = settings.get("DATASET.NUM_SHOTS", -1), settings.get("DATASET.SUBSAMPLE_CLASSES", "all")
    base = (classes + 1) // 2
    used = {"base": base, "new": classes - base}.get(subset, classes)
    train = used * shots if shots > 0 else train and train * used // classes
    return Size(used, train, test and test * used // classes)


def interpolated(measured: list[tuple[int, float]], classes: int) -> float:
    """Returns the seconds at a number of classes, from [(number of classes, seconds)]."""
    by_classes = defaultdict(list)
    for number, seconds in measured:
        by_classes[number].append(seconds)
    points = sorted((number, fmean(seconds)) for number, seconds in by_classes.items())
    below = [point for point in points if point[0] <= classes] or points[:1]
    above = [point for point in points if point[0] >= classes] or points[-1:]
    (left, low), (right, high) = below[-1], above[0]
    return low if left == right else low + (high - low) * (classes - left) / (right - left)

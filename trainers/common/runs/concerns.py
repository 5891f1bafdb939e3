"""Reasons not to trust a result, as one line each: for the log, the record and the report."""

from __future__ import annotations

import numpy as np

from .. import metrics
from ..classes import distinct
from ..outcomes import Outcomes

ABOUT_IMAGES = "images are evaluated"  # in the one line that holds for all methods alike
FEW_IMAGES = 400  # with fewer, the 95 % interval of an accuracy of 50 % is wider than +-5 points
SWALLOWED = 0.9  # share of the images of other classes that are predicted as one class
SIGNIFICANT = 0.05


def concerns(found: Outcomes, zero_shot: Outcomes | None, classnames: list[str]) -> list[str]:
    """Returns the reasons not to trust an evaluation, in one line each.

    Args:
        zero_shot: outcomes of zero-shot CLIP for the same images; None if unknown.
    """
    lines = []
    if zero_shot is not None:
        lines += worse_than_zero_shot(found, zero_shot)
    if len(classnames) > 1:
        lines += at_chance(found, len(classnames)) + one_class(found, classnames)
    return lines + few_images(found)


def worse_than_zero_shot(found: Outcomes, zero_shot: Outcomes) -> list[str]:
    own, other = 100 * found.correct.mean(), 100 * zero_shot.correct.mean()
    if own >= other:
        return []
    p = metrics.mcnemar(found.correct, zero_shot.correct)[2]
    certain = "" if p < SIGNIFICANT else ", which may be chance"
    return [
        f"worse than zero-shot CLIP: accuracy {own:.2f} % against {other:.2f} % (McNemar's test: {p_value(p)}{certain})"
    ]


def at_chance(found: Outcomes, n_cls: int) -> list[str]:
    low, _ = metrics.wilson_interval(int(found.correct.sum()), len(found))
    if low > 1 / n_cls:
        return []
    accuracy = 100 * found.correct.mean()
    return [
        f"at chance: the 95 % interval of the accuracy of {accuracy:.2f} % begins at {100 * low:.2f} %, and guessing "
        f"one of {n_cls} classes has {100 / n_cls:.2f} %"
    ]


def one_class(found: Outcomes, classnames: list[str]) -> list[str]:
    """The share of images of other classes does not depend on how many images the class itself has."""
    label = int(np.bincount(found.predicted, minlength=len(classnames)).argmax())
    others = found.labels != label
    if not others.any():
        return []
    share = (found.predicted[others] == label).mean()
    if share < SWALLOWED:
        return []
    name = distinct(classnames)[label]
    return [f"one class swallows all: {name!r} is predicted for {100 * share:.1f} % of the images of other classes"]


def few_images(found: Outcomes) -> list[str]:
    if len(found) >= FEW_IMAGES:
        return []
    low, high = metrics.wilson_interval(int(found.correct.sum()), len(found))
    return [
        f"only {len(found)} {ABOUT_IMAGES}, fewer than {FEW_IMAGES}: the 95 % interval of the accuracy is "
        f"{100 * low:.1f} to {100 * high:.1f} %"
    ]


def zero_shot_line(accuracy: float, only_run: int, only_zero_shot: int, p: float) -> str:
    """Returns the line of the log that compares a run with zero-shot CLIP, whose accuracy is in percent."""
    return (
        f"Zero-shot CLIP on the same images: accuracy {accuracy:.2f} %; {only_run:,} images are correct only in this "
        f"run, {only_zero_shot:,} only zero-shot (McNemar's test: {p_value(p)})"
    )


def p_value(p: float) -> str:
    """Returns "p = 0.032", or "p < 1e-6" for smaller ones."""
    return f"p = {p:.2g}" if p >= 1e-6 else "p < 1e-6"

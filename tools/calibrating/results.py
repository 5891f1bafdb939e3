"""What a calibration does to the test images: metrics before and after, and the coverage of prediction sets."""

from dataclasses import dataclass

import numpy as np

from trainers.common import metrics, outcomes
from trainers.common.inference.calibration import Calibration
from trainers.common.inference.conformal import clopper_pearson, expected_interval

METRICS = ("accuracy", "ece", "nll", "brier")


@dataclass(frozen=True)
class Sets:
    """Prediction sets of the test images for one coverage. Shares are fractions.

    Attributes:
        threshold: of the conformal score.
        measured: share of the test images whose set contains the true class.
        interval: 95 % confidence interval of the coverage of this threshold, from the test images.
        expected: interval in which `measured` falls in 95 % of all draws of as many calibration and test images.
        empty: share of empty sets.
        per_class: (images, covered images, mean size of the sets) of each class.
    """

    coverage: float
    threshold: float
    measured: float
    interval: tuple[float, float]
    expected: tuple[float, float]
    mean_size: float
    empty: float
    per_class: list[tuple[int, int, float | None]]


@dataclass(frozen=True)
class Reliability:
    """Metrics of the test images at a temperature, and their bins for the diagram; see `metrics.reliability`."""

    temperature: float
    metrics: dict[str, float | None]
    counts: np.ndarray
    confidence: np.ndarray
    accuracy: np.ndarray


def reliability(logits: np.ndarray, labels: np.ndarray, temperature: float) -> Reliability:
    """Returns the metrics of test images, given logits (N, n_cls) and labels (N,), at a temperature."""
    found = outcomes.of_logits(logits / np.float32(temperature), labels)
    values = outcomes.summary(found, logits.shape[1])
    bins = metrics.reliability(found.confidence, found.correct)
    return Reliability(temperature, {name: values[name] for name in METRICS}, *bins)


def measure_sets(calibration: Calibration, logits: np.ndarray, labels: np.ndarray, coverage: float) -> Sets:
    """Returns the prediction sets' coverage and size, given logits (N, n_cls) and labels (N,) of test images."""
    contained = calibration.sets(logits, coverage)
    covered = contained[np.arange(len(labels)), labels]
    sizes = contained.sum(axis=1)
    per_class = []
    for label in range(logits.shape[1]):
        own = labels == label
        size = float(sizes[own].mean()) if own.any() else None
        per_class.append((int(own.sum()), int(covered[own].sum()), size))
    return Sets(
        coverage=coverage,
        threshold=calibration.threshold(coverage),
        measured=float(covered.mean()),
        interval=clopper_pearson(int(covered.sum()), len(labels)),
        expected=expected_interval(len(calibration.scores), coverage, len(labels)),
        mean_size=float(sizes.mean()),
        empty=float((sizes == 0).mean()),
        per_class=per_class,
    )

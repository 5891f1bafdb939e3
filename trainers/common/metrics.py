"""Formulas of evaluation metrics, as NumPy functions of what is known per image. All return fractions, not percent.

`outcomes.of_logits` computes what they need from logits. Arguments are arrays or sequences over the N test images:

    labels, predicted    class indices
    confidence           probability of the predicted class
    correct              whether the predicted class is the true one
"""

from __future__ import annotations

import math
from statistics import NormalDist

import numpy as np

NORMAL = NormalDist().inv_cdf(0.975)  # half-width of a 95 % interval in standard errors
BINS = 15  # of the calibration errors, as in Guo et al. (2017), https://arxiv.org/abs/1706.04599


def wilson_interval(correct: int, total: int, coverage: float = 0.95) -> tuple[float, float]:
    """Returns the Wilson score interval of an accuracy from the number of images: (low, high).

    It says what accuracy the model may have on other images of the same kind. It does not contain the variance
    between seeds. Unlike the normal approximation it is not empty at 0 % and 100 %.

    Raises ValueError if there are no images.
    """
    if total < 1:
        raise ValueError("an accuracy of 0 images has no interval")
    z = NormalDist().inv_cdf((1 + coverage) / 2)
    share = correct / total
    center = (share + z * z / (2 * total)) / (1 + z * z / total)
    half = z * math.sqrt(share * (1 - share) / total + (z / (2 * total)) ** 2) / (1 + z * z / total)
    low = center - half if correct else 0.0  # without the rounding error of these exact values
    high = center + half if correct < total else 1.0
    return low, high


def confusion_matrix(labels, predicted, n_cls: int) -> np.ndarray:
    """Returns the number of images (n_cls, n_cls) by true class (row) and predicted class (column)."""
    indices = np.asarray(labels, dtype=np.int64) * n_cls + np.asarray(predicted, dtype=np.int64)
    return np.bincount(indices, minlength=n_cls * n_cls).reshape(n_cls, n_cls)


def per_class_accuracy(labels, predicted, n_cls: int) -> np.ndarray:
    """Returns the accuracy of each class (n_cls,); NaN for a class without images."""
    labels = np.asarray(labels, dtype=np.int64)
    hits = labels[labels == np.asarray(predicted)]
    totals = np.bincount(labels, minlength=n_cls)
    return np.bincount(hits, minlength=n_cls) / np.where(totals, totals, np.nan)


def balanced_accuracy(labels, predicted, n_cls: int) -> float:
    """Returns the mean of the per-class accuracies, over the classes that have images."""
    return float(np.nanmean(per_class_accuracy(labels, predicted, n_cls)))


def macro_f1(labels, predicted, n_cls: int) -> float:
    """Returns the mean F1 over the classes that have images, as Dassl does. F1 is 2 TP / (2 TP + FP + FN)."""
    labels, predicted = np.asarray(labels, dtype=np.int64), np.asarray(predicted, dtype=np.int64)
    totals = np.bincount(labels, minlength=n_cls)
    hits = np.bincount(labels[labels == predicted], minlength=n_cls)
    f1 = 2 * hits / np.maximum(totals + np.bincount(predicted, minlength=n_cls), 1)
    return float(f1[totals > 0].mean())


def top_k_accuracy(ranks, k: int = 5) -> float:
    """Returns the fraction of images whose true class is among the k most probable ones.

    Args:
        ranks: (N,) number of classes that are more probable than the true one.
    """
    return float((np.asarray(ranks) < k).mean())


def reliability(confidence, correct, bins: int = BINS) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns number of images, mean confidence and accuracy of each bin of confidence, three arrays (bins,).

    Bins are of equal width and contain their upper end: (0, 1/15], (1/15, 2/15], ... An empty bin has NaN.
    """
    confidence, correct = np.asarray(confidence, dtype=float), np.asarray(correct, dtype=float)
    indices = np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="left").clip(1, bins) - 1
    counts = np.bincount(indices, minlength=bins)
    sizes = np.where(counts, counts, np.nan)
    sums = [np.bincount(indices, weights=values, minlength=bins) for values in (confidence, correct)]
    return counts, sums[0] / sizes, sums[1] / sizes


def calibration_errors(confidence, correct, bins: int = BINS) -> tuple[float, float]:
    """Returns ECE and MCE: mean over the images, and maximum over the bins, of |accuracy - confidence| of the bins.

    Of the predicted class ("top label"), with bins of equal width: Guo et al. (2017), eq. 3 and 5.
    """
    counts, mean_confidence, accuracy = reliability(confidence, correct, bins)
    used = counts > 0
    gaps = np.abs(accuracy - mean_confidence)[used]
    return float((gaps * counts[used]).sum() / counts.sum()), float(gaps.max())


def auroc(scores, positive) -> float | None:
    """Returns the area under the ROC curve: how often a positive image has a higher score than a negative one.

    A tie counts one half. None if all images are positive, or all negative.
    """
    scores, positive = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    n_positive = int(positive.sum())
    n_negative = len(positive) - n_positive
    if not n_positive or not n_negative:
        return None
    _, groups, sizes = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (np.cumsum(sizes) - (sizes - 1) / 2)[groups.ravel()]  # scores 0.1, 0.7, 0.7: ranks 1, 2.5, 2.5
    return float((ranks[positive].sum() - n_positive * (n_positive + 1) / 2) / (n_positive * n_negative))


def average_precision(scores, positive) -> float | None:
    """Returns the area under the precision-recall curve: the sum of precision * (recall - recall before).

    The sum is over the different scores in descending order, as in scikit-learn. None without a positive image.
    """
    scores, positive = np.asarray(scores, dtype=float), np.asarray(positive, dtype=bool)
    if not positive.any():
        return None
    order = np.argsort(-scores, kind="stable")
    last = np.append(np.flatnonzero(np.diff(scores[order])), len(scores) - 1)  # the last one of equal scores
    hits = np.cumsum(positive[order])[last]
    return float((hits / (last + 1) * np.diff(hits / hits[-1], prepend=0.0)).sum())


def mcnemar(first, second) -> tuple[int, int, float]:
    """Compares two classifiers on the same images by McNemar's test.

    Args:
        first, second: (N,) whether each of them is correct.

    Returns (images that only the first has correct, images that only the second has correct, two-sided p value). The
    p value is exact, of the binomial distribution, for any number of images: no approximation by chi-squared.
    """
    first, second = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if first.shape != second.shape:
        raise ValueError(f"McNemar's test needs the same images, got {len(first):,} and {len(second):,}")
    only_first, only_second = int((first & ~second).sum()), int((second & ~first).sum())
    return only_first, only_second, sign_test(only_first, only_second)


def sign_test(a: int, b: int) -> float:
    """Returns the two-sided p value of `a` heads and `b` tails of a fair coin. 1.0 without a toss."""
    n = a + b
    if a == b:
        return 1.0
    # P(at most k heads): logarithms, since 2**n and the binomial coefficients exceed a float from n = 1030
    logs = [
        math.lgamma(n + 1) - math.lgamma(i + 1) - math.lgamma(n - i + 1) - n * math.log(2) for i in range(min(a, b) + 1)
    ]
    largest = max(logs)
    return min(1.0, 2 * math.exp(largest) * math.fsum(math.exp(log - largest) for log in logs))

"""Metrics of an evaluation against plain loops, SciPy, scikit-learn and, if installed, torchmetrics."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from trainers.common import metrics, outcomes


def draw(n=200, n_cls=7, seed=0, scale=3.0):
    """Returns random logits (n, n_cls) and labels (n,) that they predict better than chance."""
    generator = np.random.default_rng(seed)
    labels = generator.integers(0, n_cls, n)
    logits = generator.normal(size=(n, n_cls)) * scale
    logits[np.arange(n), labels] += scale / 2
    return logits, labels


def softmax(row):
    powers = [math.exp(value - max(row)) for value in row]
    return [power / sum(powers) for power in powers]


def loop_summary(logits, labels, n_cls):
    """All metrics by plain loops over images, in percent as the summary."""
    n = len(labels)
    p = [softmax(row) for row in logits]
    predicted = [max(range(n_cls), key=lambda k: (row[k], -k)) for row in p]
    hits = [int(a == b) for a, b in zip(predicted, labels, strict=True)]
    recalls, f1s = [], []
    for k in range(n_cls):
        own = [i for i in range(n) if labels[i] == k]
        if own:
            true_positives = sum(hits[i] for i in own)
            recalls.append(true_positives / len(own))
            f1s.append(2 * true_positives / (len(own) + sum(q == k for q in predicted)))
    gaps = []
    ece = 0.0
    for b in range(15):
        inside = [i for i in range(n) if b / 15 < max(p[i]) <= (b + 1) / 15]
        if inside:
            gap = abs(sum(hits[i] for i in inside) - sum(max(p[i]) for i in inside)) / len(inside)
            gaps.append(gap)
            ece += gap * len(inside) / n
    top5 = sum(labels[i] in sorted(range(n_cls), key=lambda k: (-p[i][k], k))[:5] for i in range(n)) / n
    pairs = [
        1.0 if p[i][1] > p[j][1] else 0.5 if p[i][1] == p[j][1] else 0.0
        for i in range(n)
        for j in range(n)
        if n_cls == 2 and labels[i] == 1 and labels[j] == 0
    ]
    brier = sum(sum((p[i][k] - (labels[i] == k)) ** 2 for k in range(n_cls)) for i in range(n)) / n
    return {
        "accuracy": 100 * sum(hits) / n,
        "balanced_accuracy": 100 * sum(recalls) / len(recalls),
        "macro_f1": 100 * sum(f1s) / len(f1s),
        "top5_accuracy": 100 * top5 if n_cls > 5 else None,
        "ece": 100 * ece,
        "mce": 100 * max(gaps),
        "auroc": 100 * sum(pairs) / len(pairs) if pairs else None,
        "nll": -sum(math.log(p[i][labels[i]]) for i in range(n)) / n,
        "brier": brier,
    }


@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 40), n_cls=st.integers(1, 8), seed=st.integers(0, 10**6))
def test_every_metric_equals_a_plain_loop(n, n_cls, seed):
    logits, labels = draw(n, n_cls, seed)
    found = outcomes.summary(outcomes.of_logits(torch.tensor(logits), labels), n_cls)
    for name, value in loop_summary(logits.tolist(), labels.tolist(), n_cls).items():
        assert found[name] == (None if value is None else pytest.approx(value, abs=2e-3, rel=1e-5)), name


def test_batches_of_any_size_give_the_same_outcomes():
    logits, labels = (torch.as_tensor(array) for array in draw())
    parts = [outcomes.of_batch(a, b) for a, b in zip(logits.split(33), labels.split(33), strict=True)]
    joined, whole = outcomes.join(parts), outcomes.of_logits(logits, labels)
    assert len(joined) == 200
    for name in vars(whole):
        np.testing.assert_array_equal(getattr(joined, name), getattr(whole, name), err_msg=name)


def test_equal_logits():
    """The first of equal logits is predicted and comes first, so that top-1 is the accuracy."""
    tied = outcomes.of_logits(torch.zeros(3, 7), [0, 1, 6])
    assert tied.predicted.tolist() == [0, 0, 0]
    assert tied.ranks.tolist() == [0, 1, 6]
    assert metrics.top_k_accuracy(tied.ranks, 1) == tied.correct.mean() == pytest.approx(1 / 3)


def test_metrics_that_are_not_defined():
    five = outcomes.summary(outcomes.of_logits(*draw(20, 5)), 5)
    assert five["top5_accuracy"] is None  # it would always be 100 %
    assert five["auroc"] is None
    only_positive = outcomes.summary(outcomes.of_logits(torch.randn(4, 2), [1, 1, 1, 1]), 2)
    assert only_positive["auroc"] is None
    excluded = outcomes.summary(outcomes.of_logits(torch.tensor([[0.0, -math.inf]]), [1]), 2)
    assert excluded["nll"] is None
    one_class = outcomes.summary(outcomes.of_logits(torch.randn(4, 1), [0, 0, 0, 0]), 1)
    assert one_class["accuracy"] == one_class["balanced_accuracy"] == 100
    assert one_class["nll"] == one_class["brier"] == 0
    with pytest.raises(ValueError, match="no batch"):
        outcomes.join([])


def test_a_class_without_images_counts_in_no_mean():
    np.testing.assert_array_equal(metrics.per_class_accuracy([0, 0, 2], [0, 1, 2], 4), [0.5, np.nan, 1, np.nan])
    assert metrics.balanced_accuracy([0, 0, 2], [0, 1, 2], 4) == 0.75
    assert metrics.confusion_matrix([0, 0, 2], [0, 1, 2], 3).tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 1]]


def test_macro_f1_is_that_of_dassl():
    metrics_of_sklearn = pytest.importorskip("sklearn.metrics")
    _, labels = draw(60, 9, seed=3)
    predicted = np.random.default_rng(1).integers(0, 9, 60)
    labels = labels.clip(0, 6)  # two classes without images
    expected = metrics_of_sklearn.f1_score(labels, predicted, average="macro", labels=np.unique(labels))
    assert metrics.macro_f1(labels, predicted, 9) == pytest.approx(expected)


def test_wilson_interval_is_that_of_scipy():
    stats = pytest.importorskip("scipy.stats")
    for correct, total in [(0, 9), (9, 9), (1, 1), (431, 540), (49_000, 50_000)]:
        expected = stats.binomtest(correct, total).proportion_ci(0.95, method="wilson")
        assert metrics.wilson_interval(correct, total) == pytest.approx((expected.low, expected.high), abs=1e-12)
    with pytest.raises(ValueError, match="0 images"):
        metrics.wilson_interval(0, 0)


@settings(max_examples=50, deadline=None)
@given(a=st.integers(0, 3000), b=st.integers(0, 3000))
def test_mcnemar_is_the_exact_binomial_test_of_scipy(a, b):
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(min(a, b), a + b).pvalue if a + b else 1.0
    assert metrics.sign_test(a, b) == pytest.approx(expected, rel=1e-8, abs=1e-300)


def test_mcnemar_counts_images_that_one_of_two_has_correct():
    assert metrics.mcnemar([1, 1, 1, 0, 0, 1], [1, 0, 0, 0, 1, 0]) == (3, 1, pytest.approx(2 * 5 / 16))
    assert metrics.mcnemar([1, 0], [1, 0]) == (0, 0, 1.0)
    with pytest.raises(ValueError, match="same images"):
        metrics.mcnemar([1], [1, 0])


def test_auroc_and_average_precision_are_those_of_sklearn():
    metrics_of_sklearn = pytest.importorskip("sklearn.metrics")
    generator = np.random.default_rng(0)
    positive = generator.integers(0, 2, 300)
    scores = (generator.normal(size=300) + positive).round(1)  # with ties
    assert metrics.auroc(scores, positive) == pytest.approx(metrics_of_sklearn.roc_auc_score(positive, scores))
    expected = metrics_of_sklearn.average_precision_score(positive, scores)
    assert metrics.average_precision(scores, positive) == pytest.approx(expected)
    assert metrics.average_precision([0.5, 0.7], [0, 0]) is None


def test_ece_bins_contain_their_upper_end():
    counts, confidence, accuracy = metrics.reliability([0.5, 0.25, 1.0, 1.0], [1, 0, 1, 0], bins=4)
    assert counts.tolist() == [1, 1, 0, 2]
    np.testing.assert_array_equal(confidence, [0.25, 0.5, np.nan, 1.0])
    np.testing.assert_array_equal(accuracy, [0.0, 1.0, np.nan, 0.5])
    assert metrics.calibration_errors([0.5, 0.25, 1.0, 1.0], [1, 0, 1, 0], bins=4) == (0.4375, 0.5)


def test_calibration_errors_are_those_of_torchmetrics():
    reason = "torchmetrics is not installed: ECE and MCE were compared with loops only"
    calibration = pytest.importorskip("torchmetrics.functional.classification", reason=reason)
    logits, labels = (torch.as_tensor(array) for array in draw(500, 10))
    found = outcomes.of_logits(logits, labels)
    for norm, value in zip(("l1", "max"), metrics.calibration_errors(found.confidence, found.correct), strict=True):
        expected = calibration.multiclass_calibration_error(logits.softmax(1), labels, 10, n_bins=15, norm=norm)
        assert value == pytest.approx(expected.item(), abs=1e-5)

"""Conformal prediction: scores against plain loops, thresholds, and coverage against its theoretical distribution."""

import math

import numpy as np
import pytest
from scipy import stats

from tests.user_errors import raises_user_error
from trainers.common.inference import conformal
from trainers.common.inference.conformal import Score


def random_probabilities(n, n_cls, seed=0):
    return np.random.default_rng(seed).dirichlet(np.full(n_cls, 0.3), n)


def plain_score(probabilities, label, u, penalty, free_ranks):
    """APS and RAPS of one class of one image, by sorting and adding up."""
    ranked = sorted(range(len(probabilities)), key=lambda i: -probabilities[i])
    total = 0.0
    for position, other in enumerate(ranked, 1):
        if other == label:
            return total + u * probabilities[label] + penalty * max(0, position - free_ranks)
        total += probabilities[other]


@pytest.mark.parametrize("name", conformal.SCORES)
def test_scores_equal_plain_loops(name):
    probabilities = random_probabilities(20, 7)
    uniforms = np.random.default_rng(1).random(20)
    penalty = {"aps": 0.0, "raps": 0.2}.get(name)
    scores = Score(name, penalty=0.2, free_ranks=2).of_classes(probabilities, uniforms)
    for i, row in enumerate(probabilities):
        for label in range(7):
            if name == "lac":
                expected = 1 - row[label]
            else:
                expected = plain_score(row, label, uniforms[i], penalty, 2)
            assert scores[i, label] == pytest.approx(expected, abs=1e-12)


def test_aps_sets_hold_the_most_probable_classes():
    """A class is in the set only if all more probable ones are; so with LAC."""
    probabilities = random_probabilities(50, 6)
    for name in conformal.SCORES:
        sets = Score(name).sets(probabilities, 0.8, np.random.default_rng(0))
        sizes = set(sets.sum(axis=1).tolist())
        assert len(sizes) > 1
        for row, contained in zip(probabilities, sets, strict=True):
            ranked = contained[np.argsort(-row)].tolist()
            assert ranked == sorted(ranked, reverse=True)


def test_ranks_and_needed_images():
    for coverage in (0.5, 0.55, 0.7, 0.8, 0.9, 0.95, 0.99):
        needed = conformal.needed_images(coverage)
        assert needed == min(n for n in range(1, 200) if math.ceil(round((n + 1) * coverage, 9)) <= n)
        for n in range(needed, needed + 30):
            assert conformal.rank(n, coverage) == math.ceil(round((n + 1) * coverage, 9))
        with raises_user_error(f"{coverage:g}", f"{needed}", f"{needed - 1}"):
            conformal.rank(needed - 1, coverage)
    assert [conformal.needed_images(c) for c in (0.8, 0.9, 0.95, 0.99)] == [4, 9, 19, 99]
    assert conformal.rank(19, 0.55) == 11  # math.ceil(20 * 0.55) is 12
    for coverage in (0, 1, 1.5, -0.1, math.nan):
        with raises_user_error("0", "1", f"{coverage:g}"):
            conformal.needed_images(coverage)
    assert conformal.threshold(np.array([0.3, 0.1, 0.2, 0.4]), 0.8) == 0.4


@pytest.mark.parametrize("name", ["lac", "aps", "raps"])
def test_the_coverage_has_the_beta_distribution(name):
    """Of 2,000 draws of 20 calibration images: Beta(19, 2) over the draws, so the mean is 19/21, above 90 %.

    The labels are random given the probabilities, which makes the scores exchangeable.
    """
    n, n_test, draws = 20, 400, 2000
    rng = np.random.default_rng(0)
    pool = random_probabilities(60_000, 5, seed=1)
    labels = (pool.cumsum(axis=1) < rng.random(len(pool))[:, None]).sum(axis=1).clip(max=4)
    scores = Score(name, penalty=0.05, free_ranks=1).of_classes(pool, rng.random(len(pool)))
    true = scores[np.arange(len(pool)), labels]
    covered = []
    for _ in range(draws):
        chosen = rng.choice(true, n + n_test)
        covered.append(int((chosen[n:] <= conformal.threshold(chosen[:n], 0.9)).sum()))
    law = stats.betabinom(n_test, 19, 2)
    assert np.mean(covered) / n_test == pytest.approx(19 / 21, abs=4 * law.std() / n_test / math.sqrt(draws))
    distance = max(abs(np.mean(np.array(covered) <= k) - law.cdf(k)) for k in range(300, n_test))
    assert distance < 1.63 / math.sqrt(draws)  # Kolmogorov-Smirnov, 1 %
    low, high = conformal.expected_interval(n, 0.9, n_test)
    outside = np.mean([not low <= k / n_test <= high for k in covered])
    assert 0.03 < outside <= 0.06


def test_random_numbers_repeat_and_differ_between_calibration_and_prediction():
    score = Score("aps", seed=3)
    first = score.generator().random(5)
    assert np.array_equal(first, score.generator().random(5))
    assert not np.array_equal(first, score.generator(conformal.CALIBRATION).random(5))
    assert not np.array_equal(first, Score("aps", seed=4).generator().random(5))


def test_the_interval_is_that_of_scipy():
    for hits, total in ((0, 9), (9, 9), (489, 540)):
        expected = stats.binomtest(hits, total).proportion_ci(0.95, method="exact")
        assert conformal.clopper_pearson(hits, total) == pytest.approx((expected.low, expected.high))

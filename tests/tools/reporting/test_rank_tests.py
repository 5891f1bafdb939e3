"""Tests over datasets and seeds, compared with scipy, with Demsar (2006), and with all sign patterns."""

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from tools.reporting import rank_tests

VALUES = st.lists(st.integers(-6, 6).map(float), min_size=1, max_size=9)

# Table 6 of Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006: AUC of C4.5 with
# parameters m and cf on 14 datasets
AUC = {
    "C4.5": [0.763, 0.599, 0.954, 0.628, 0.882, 0.936, 0.661, 0.583, 0.775, 1.0, 0.940, 0.619, 0.972, 0.957],
    "C4.5+m": [0.768, 0.591, 0.971, 0.661, 0.888, 0.931, 0.668, 0.583, 0.838, 1.0, 0.962, 0.666, 0.981, 0.978],
    "C4.5+cf": [0.771, 0.590, 0.968, 0.654, 0.886, 0.916, 0.609, 0.563, 0.866, 1.0, 0.965, 0.614, 0.975, 0.946],
    "C4.5+m+cf": [0.798, 0.569, 0.967, 0.657, 0.898, 0.931, 0.685, 0.625, 0.875, 1.0, 0.962, 0.669, 0.975, 0.970],
}


@given(VALUES)
def test_ranks(values):
    assert rank_tests.ranks(values) == list(scipy_stats.rankdata([-value for value in values]))


def test_mean_ranks_and_the_friedman_test_of_an_example():
    mean_ranks = rank_tests.mean_ranks(AUC)
    table = scipy_stats.rankdata(-np.array(list(AUC.values())), axis=0)  # (method, dataset)
    assert mean_ranks == pytest.approx(dict(zip(AUC, table.mean(1), strict=True)))
    chi, p, f, p_of_f = rank_tests.friedman(AUC)
    # with ties: (k - 1) sum over methods of (R - n (k + 1) / 2)^2, over the variance of the ranks within datasets
    k, n = table.shape
    expected = (k - 1) * ((table.sum(1) - n * (k + 1) / 2) ** 2).sum() / ((table - (k + 1) / 2) ** 2).sum()
    assert chi == pytest.approx(expected) and p == pytest.approx(scipy_stats.chi2.sf(expected, k - 1))
    assert f == pytest.approx((n - 1) * chi / (n * (k - 1) - chi))
    assert p_of_f == pytest.approx(scipy_stats.f.sf(f, k - 1, (k - 1) * (n - 1)))


def test_the_friedman_test_of_equal_and_of_opposed_methods():
    assert rank_tests.friedman({"a": [1.0, 2.0], "b": [1.0, 2.0], "c": [1.0, 2.0]}) is None
    chi, p, f, p_of_f = rank_tests.friedman({"a": [3.0, 3.0], "b": [2.0, 2.0], "c": [1.0, 1.0]})
    assert (chi, f, p_of_f) == (pytest.approx(4), math.inf, 0) and p == pytest.approx(scipy_stats.chi2.sf(4, 2))


@pytest.mark.parametrize("k, q", [(2, 1.960), (3, 2.343), (4, 2.569), (5, 2.728), (10, 3.164)])
def test_critical_difference(k, q):
    """Table 5a of Demsar (2006), whose entries are cut off after three decimals."""
    for n in (3, 14):
        assert rank_tests.critical_difference(k, n) == pytest.approx(q * math.sqrt(k * (k + 1) / (6 * n)), rel=6e-4)


def test_the_critical_difference_and_groups_of_the_example():
    difference = rank_tests.critical_difference(4, 14)
    assert difference == pytest.approx(1.25, abs=0.005)  # as printed there
    mean_ranks = rank_tests.mean_ranks(AUC)
    assert rank_tests.cliques(mean_ranks, difference) == [["C4.5+m+cf", "C4.5+m", "C4.5+cf", "C4.5"]]
    at_ten_percent = [["C4.5+m+cf", "C4.5+m", "C4.5+cf"], ["C4.5+cf", "C4.5"]]  # figure 1a there, 1.12
    assert rank_tests.cliques(mean_ranks, 1.12) == at_ten_percent


def test_groups_without_and_inside_others():
    mean_ranks = {"a": 1.0, "b": 2.0, "c": 2.5, "d": 4.5}
    assert rank_tests.cliques(mean_ranks, 0.4) == []
    assert rank_tests.cliques(mean_ranks, 1.0) == [["b", "c"]]  # a and b differ by the critical difference
    assert rank_tests.cliques(mean_ranks, 1.6) == [["a", "b", "c"]]


def test_signed_rank_test_without_ties_is_scipys():
    rng = np.random.default_rng(0)
    for n in (1, 2, 3, 5, 11, 30):
        differences = rng.normal(0.5, 1, n).tolist()
        expected = scipy_stats.wilcoxon(differences, method="exact").pvalue
        assert rank_tests.signed_rank(differences) == pytest.approx(expected)


@given(VALUES)
def test_signed_rank_test_counts_all_sign_patterns(values):
    """Also with ties. Zeros are dropped."""
    values = [value for value in values if value]
    ranks = scipy_stats.rankdata(np.abs(values)) if values else []
    observed = sum(rank * math.copysign(1, value) for rank, value in zip(ranks, values, strict=True))
    patterns = [np.dot(signs, ranks) for signs in itertools.product((-1, 1), repeat=len(values))]
    expected = np.mean([abs(total) >= abs(observed) - 1e-9 for total in patterns])
    assert rank_tests.signed_rank([*values, 0.0]) == pytest.approx(expected)


def test_the_smallest_p_of_the_signed_rank_test_depends_on_the_number_of_datasets():
    assert [rank_tests.signed_rank([1.0] * n) for n in (0, 1, 3, 5, 6)] == [1, 1, 0.25, 0.0625, 0.03125]
    assert rank_tests.datasets_needed(1) == 6  # 2 / 2^6 is below 0.05
    assert rank_tests.datasets_needed(21) == 10  # 21 * 2 / 2^10


def test_paired_t_test():
    a, b = [70.0, 71.5, 69.0, 70.2], [69.1, 70.9, 68.8, 68.0]
    differences = [x - y for x, y in zip(a, b, strict=True)]
    assert rank_tests.paired_t(differences) == pytest.approx(scipy_stats.ttest_rel(a, b).pvalue)
    assert rank_tests.paired_t([1.0]) is rank_tests.paired_t([1.0, 1.0, 1.0]) is None


@given(st.lists(st.floats(0, 1), min_size=1, max_size=8))
def test_holm_correction(p_values):
    """Against its definition: the largest of the smaller ones, each times the number of those not smaller."""
    corrected = rank_tests.holm({**dict(enumerate(p_values)), "unknown": None})
    assert corrected.pop("unknown") is None
    ordered = np.sort(p_values)
    steps = np.minimum(1, np.maximum.accumulate(ordered * np.arange(len(ordered), 0, -1)))
    assert sorted(corrected.values()) == pytest.approx(list(steps))
    assert all(corrected[i] >= p for i, p in enumerate(p_values))

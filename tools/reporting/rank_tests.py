"""Tests on the results of several methods on the same datasets (Demsar, JMLR 2006, 7:1-30).

All tests are at 5 %. A value of 1.0 as p means that nothing is shown, None that there is nothing to test.
"""

import math
import statistics
from itertools import combinations

LEVEL = 0.05


def ranks(values: list[float]) -> list[float]:
    """Returns the rank of each value, 1 for the highest; equal values share the mean of their ranks."""
    ordered = sorted(values, reverse=True)
    first = {value: index for index, value in reversed(list(enumerate(ordered, 1)))}
    return [first[value] + (values.count(value) - 1) / 2 for value in values]


def mean_ranks(values: dict[str, list[float]]) -> dict[str, float]:
    """Returns name -> mean rank, given name -> values on N datasets."""
    per_dataset = [ranks(list(column)) for column in zip(*values.values(), strict=True)]
    return dict(zip(values, map(statistics.fmean, zip(*per_dataset, strict=True)), strict=True))


def friedman(values: dict[str, list[float]]) -> tuple[float, float, float, float] | None:
    """Tests whether k >= 3 methods differ on N datasets.

    Returns (Friedman's chi-squared, its p, F of Iman and Davenport, its p), or None if all are equal on all datasets.
    """
    from scipy.stats import f, friedmanchisquare  # importing scipy.stats takes a second

    k, n = len(values), len(next(iter(values.values())))
    if all(len(set(column)) == 1 for column in zip(*values.values(), strict=True)):
        return None
    chi, p = (float(result) for result in friedmanchisquare(*values.values()))
    rest = n * (k - 1) - chi
    statistic = (n - 1) * chi / rest if rest > 1e-9 else math.inf
    return chi, p, statistic, float(f.sf(statistic, k - 1, (k - 1) * (n - 1)))


def critical_difference(k: int, n: int) -> float:
    """Returns the difference of mean ranks from which two of k methods differ on n datasets (Nemenyi)."""
    from scipy.stats import studentized_range

    return float(studentized_range.ppf(1 - LEVEL, k, math.inf)) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * n))


def cliques(mean_rank: dict[str, float], difference: float) -> list[list[str]]:
    """Returns the groups of methods whose mean ranks differ by less than `difference`, without groups inside others."""
    names = sorted(mean_rank, key=mean_rank.get)
    groups = []
    for start, name in enumerate(names):
        group = [other for other in names[start:] if mean_rank[other] - mean_rank[name] < difference]
        if len(group) > 1 and not (groups and set(group) <= set(groups[-1])):
            groups.append(group)
    return groups


def signed_rank(differences: list[float]) -> float:
    """Returns the two-sided p of Wilcoxon's signed-rank test, exact also with ties. Zeros are dropped."""
    # Each sign pattern of the n ranks is equally likely. With the ranks 1, 2.5, 2.5, doubled to whole numbers 2, 5, 5,
    # ways[s] counts the patterns whose positive ranks sum to s.
    differences = [value for value in differences if value]
    doubled = [round(2 * rank) for rank in ranks([-abs(value) for value in differences])]
    ways = [1] + [0] * sum(doubled)
    for rank in doubled:
        ways = [count + (ways[total - rank] if total >= rank else 0) for total, count in enumerate(ways)]
    positive = sum(rank for rank, value in zip(doubled, differences, strict=True) if value > 0)
    smaller = min(positive, sum(doubled) - positive)
    return min(1.0, 2 * sum(ways[: smaller + 1]) / 2 ** len(doubled))


def paired_t(differences: list[float]) -> float | None:
    """Returns the two-sided p of the paired t test; None with fewer than two pairs, or without variation."""
    from scipy.special import stdtr

    if len(differences) < 2 or statistics.stdev(differences) < 1e-9:
        return None
    t = statistics.fmean(differences) / (statistics.stdev(differences) / math.sqrt(len(differences)))
    return float(2 * stdtr(len(differences) - 1, -abs(t)))


def holm(p_values: dict) -> dict:
    """Returns the p values corrected for their number (Holm). None stays None and does not count."""
    known = sorted((p, key) for key, p in p_values.items() if p is not None)
    corrected = dict.fromkeys(p_values)
    largest = 0.0
    for index, (p, key) in enumerate(known):
        largest = max(largest, min(1.0, p * (len(known) - index)))
        corrected[key] = largest
    return corrected


def datasets_needed(pairs: int) -> int:
    """Returns the smallest number of datasets on which the corrected signed-rank test can show any difference."""
    n = 1
    while pairs * 2 ** (1 - n) >= LEVEL:
        n += 1
    return n


def pairs_of(names) -> list[tuple]:
    return list(combinations(names, 2))

"""Statistics over seeds, compared with numpy and scipy.stats."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats as scipy_stats

from tools.reporting.comparison import outside
from tools.reporting.stats import average, harmonic, over_seeds

NUMBERS = st.lists(st.floats(1, 100), min_size=2, max_size=8)


@given(NUMBERS)
def test_mean_std_and_t_interval(values):
    stat = over_seeds(dict(enumerate(values)))
    assert stat.mean == pytest.approx(np.mean(values)) and stat.std == pytest.approx(np.std(values), abs=1e-9)
    spread = np.std(values, ddof=1) / np.sqrt(len(values))
    assert stat.confidence_half_width == pytest.approx(scipy_stats.t.ppf(0.975, len(values) - 1) * spread, abs=1e-9)


def test_a_single_seed_has_no_spread():
    stat = over_seeds({1: 80.0})
    assert (stat.mean, stat.n) == (80.0, 1)
    assert stat.std is stat.confidence_half_width is stat.prediction_half_width(3) is None
    assert over_seeds({}) is None


@given(st.dictionaries(st.integers(0, 5), st.tuples(st.floats(1, 100), st.floats(1, 100)), min_size=1))
def test_harmonic_mean_is_that_of_the_means(pairs):
    base, new = (over_seeds({seed: pair[i] for seed, pair in pairs.items()}) for i in (0, 1))
    h = harmonic(base, new)
    assert h.mean == pytest.approx(2 / (1 / base.mean + 1 / new.mean))
    assert h.seeds == {seed: pytest.approx(2 / (1 / b + 1 / n)) for seed, (b, n) in pairs.items()}
    assert harmonic(base, None) is None


def test_harmonic_mean_of_zeros():
    assert harmonic(over_seeds({1: 0.0}), over_seeds({1: 0.0})).mean == 0


def test_average_uses_unrounded_means_and_the_std_of_common_seeds():
    one = over_seeds({1: 10.004, 2: 20.004, 3: 30.004})
    other = over_seeds({1: 50.0, 2: 70.0})
    stat = average([one, other])
    assert stat.mean == (20.004 + 60) / 2 and stat.seeds == {1: (10.004 + 50) / 2, 2: (20.004 + 70) / 2}
    assert average([over_seeds({1: 10.0}), over_seeds({2: 20.0})]).std is None


def test_five_percent_of_equal_means_are_marked():
    rng = np.random.default_rng(0)
    ours = rng.normal(70, 1, (4000, 3))
    printed = rng.normal(70, 1, (4000, 3)).mean(1)
    stats = [over_seeds(dict(enumerate(seeds))) for seeds in ours]
    marked = [outside(stat, mean, 3) for stat, mean in zip(stats, printed, strict=True)]
    assert 0.04 < np.mean(marked) < 0.06


def test_comparison_of_one_seed():
    assert outside(over_seeds({1: 70.0}), 60.0, 3) is None
    assert outside(over_seeds({1: 70.0}), 70.004, 3, zero_shot=True) is False
    assert outside(over_seeds({1: 70.0}), 70.01, 3, zero_shot=True) is True


def test_a_source_that_does_not_state_its_seeds_is_taken_as_one_seed():
    stat = over_seeds({1: 69.0, 2: 70.0, 3: 71.0})
    half_widths = {m: scipy_stats.t.ppf(0.975, 2) * np.sqrt(1 / 3 + 1 / (m or 1)) + 0.005 for m in (None, 1, 3, 10)}
    assert half_widths[None] == half_widths[1] > half_widths[3] > half_widths[10]
    for m, half_width in half_widths.items():
        assert outside(stat, 70 + half_width + 1e-6, m) and not outside(stat, 70 + half_width - 1e-6, m)

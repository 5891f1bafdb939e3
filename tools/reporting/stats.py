"""Mean, standard deviation and intervals over seeds."""

import statistics
from dataclasses import dataclass
from functools import cache


@dataclass(frozen=True)
class Stat:
    """A number measured once per seed.

    Attributes:
        seeds: seed -> value in percent.
        mean: the mean of the values. For H, the harmonic mean of the mean Base and the mean New.
    """

    seeds: dict
    mean: float

    @property
    def n(self) -> int:
        return len(self.seeds)

    @property
    def std(self) -> float | None:
        """Population standard deviation, as in CoOp's parse_test_res.py; None for fewer than two seeds."""
        return statistics.pstdev(self.seeds.values()) if self.n > 1 else None

    @property
    def confidence_half_width(self) -> float | None:
        """Half-width of the 95 % confidence interval of the mean (Student's t, sample standard deviation).

        None for fewer than two seeds.
        """
        if self.n < 2:
            return None
        return t_quantile(self.n - 1) * statistics.stdev(self.seeds.values()) / self.n**0.5

    def prediction_half_width(self, n: int) -> float | None:
        """Half-width of the 95 % prediction interval for the mean of n other seeds; None for fewer than two seeds."""
        if self.n < 2:
            return None
        return t_quantile(self.n - 1) * statistics.stdev(self.seeds.values()) * (1 / self.n + 1 / n) ** 0.5


def over_seeds(seeds: dict) -> Stat | None:
    return Stat(seeds, statistics.fmean(seeds.values())) if seeds else None


def harmonic(base: Stat | None, new: Stat | None) -> Stat | None:
    """Returns H of the mean Base and the mean New, as in the literature. Its std is that of H per seed."""
    if base is None or new is None:
        return None
    seeds = {seed: harmonic_mean(base.seeds[seed], new.seeds[seed]) for seed in base.seeds if seed in new.seeds}
    return Stat(seeds, harmonic_mean(base.mean, new.mean))


def average(stats: list[Stat]) -> Stat:
    """Returns the mean over datasets. Its std is over the seeds that all datasets have."""
    shared = set.intersection(*(set(stat.seeds) for stat in stats))
    seeds = {seed: statistics.fmean(stat.seeds[seed] for stat in stats) for seed in sorted(shared)}
    return Stat(seeds, statistics.fmean(stat.mean for stat in stats))


def harmonic_mean(base: float, new: float) -> float:
    return 2 * base * new / (base + new) if base + new else 0.0


@cache
def t_quantile(degrees_of_freedom: int) -> float:
    """Returns the 97.5 % quantile of Student's t distribution."""
    from scipy.special import stdtrit  # importing scipy.stats takes a second

    return float(stdtrit(degrees_of_freedom, 0.975))

"""Split conformal prediction: sets of classes that contain the true class with a stated probability, the coverage.

A score says how badly a class fits an image. The threshold is the k-th smallest score of the true classes of n
calibration images, k = ceil((n + 1) * coverage). The set of an image holds the classes whose score is at most the
threshold. If the image and the calibration images are exchangeable, and the model has not seen either, the set contains
the true class with a probability of at least the coverage: Vovk et al. (2005), and Angelopoulos and Bates,
https://arxiv.org/abs/2107.07511.

Scores of class y, with the classes sorted by probability p and rank 1 the most probable:

    lac   1 - p(y)                                                       https://arxiv.org/abs/1609.00451
    aps   sum of p over the ranks before y, + u * p(y)                   https://arxiv.org/abs/2006.02544
    raps  as aps, + penalty * max(0, rank(y) - free_ranks)               https://arxiv.org/abs/2009.14193

u is random, uniform in [0, 1), one number per image.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

SCORES = ("lac", "aps", "raps")
CALIBRATION, PREDICTION = 0, 1  # streams of random numbers, which must be independent


@dataclass(frozen=True)
class Score:
    """A conformal score with its constants.

    Attributes:
        name: one of SCORES.
        seed: of the random numbers of aps and raps.
        penalty, free_ranks: only used by raps; the defaults are those of Angelopoulos and Bates.
    """

    name: str = "lac"
    seed: int = 1
    penalty: float = 0.01
    free_ranks: int = 5

    def of_classes(self, probabilities: np.ndarray, uniforms: np.ndarray) -> np.ndarray:
        """Returns the score of each class (N, n_cls).

        Args:
            probabilities: (N, n_cls).
            uniforms: (N,), from `uniforms`; lac ignores them.
        """
        if self.name == "lac":
            return 1 - probabilities
        order = np.argsort(-probabilities, axis=1, kind="stable")
        ranked = np.take_along_axis(probabilities, order, axis=1)
        scores = ranked.cumsum(axis=1) - ranked + uniforms[:, None] * ranked
        if self.name == "raps":
            ranks = np.arange(1, probabilities.shape[1] + 1)
            scores += self.penalty * np.maximum(0, ranks - self.free_ranks)
        by_class = np.empty_like(scores)
        np.put_along_axis(by_class, order, scores, axis=1)
        return by_class

    def of_labels(self, probabilities: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Returns the scores (n,) of the true classes of calibration images."""
        scores = self.of_classes(probabilities, self.generator(CALIBRATION).random(len(labels)))
        return scores[np.arange(len(labels)), labels]

    def generator(self, stream: int = PREDICTION) -> np.random.Generator:
        """Returns the generator of the random numbers u, which gives the same ones each time it is made."""
        return np.random.default_rng([self.seed, stream])

    def sets(self, probabilities: np.ndarray, threshold: float, generator: np.random.Generator) -> np.ndarray:
        """Returns which classes are in the set of each image, bool (N, n_cls)."""
        return self.of_classes(probabilities, generator.random(len(probabilities))) <= threshold


def threshold(scores: np.ndarray, coverage: float) -> float:
    """Returns the threshold for a coverage from the scores (n,) of calibration images.

    Raises ValueError if there are too few images for it.
    """
    return float(np.sort(scores)[rank(len(scores), coverage) - 1])


def rank(n: int, coverage: float) -> int:
    """Returns k = ceil((n + 1) * coverage), the rank of the threshold among n scores. (20, 0.9) gives 19.

    Raises ValueError if n is too small: k would be n + 1, so that every set would hold all classes.
    """
    needed = needed_images(coverage)
    if n < needed:
        possible = math.floor(1000 * n / (n + 1)) / 1000
        remedy = f"at most {possible:g} is possible with them" if n else "there are none"
        raise ValueError(f"coverage {coverage:g} needs at least {needed:,} calibration images, got {n:,}: {remedy}")
    return math.ceil((n + 1) * exact(coverage))


def needed_images(coverage: float) -> int:
    """Returns the smallest number of calibration images with which a coverage is possible: 9 for 0.9, 19 for 0.95.

    Raises ValueError if the coverage is not between 0 and 1.
    """
    if not 0 < coverage < 1:
        raise ValueError(f"a coverage must be greater than 0 and less than 1, such as 0.9, got {coverage:g}")
    return math.ceil(exact(coverage) / (1 - exact(coverage)))


def exact(coverage: float) -> Fraction:
    """Returns 0.55 as 11/20. As a float, 20 * 0.55 is above 11, and `rank` would be 12."""
    return Fraction(str(float(coverage)))


def expected_interval(n: int, coverage: float, n_test: int, level: float = 0.95) -> tuple[float, float]:
    """Returns the interval in which the coverage measured on `n_test` images falls in 95 % of the cases.

    The coverage of one threshold is Beta(k, n + 1 - k) distributed over the draws of n calibration images (Angelopoulos
    and Bates, section 3.2), if scores have no ties, so the number of covered test images is beta-binomial. With few
    calibration images the interval is wide: the guarantee is about the mean over draws.
    """
    from scipy.stats import betabinom

    k = rank(n, coverage)
    low, high = betabinom.ppf([(1 - level) / 2, (1 + level) / 2], n_test, k, n + 1 - k)
    return float(low) / n_test, float(high) / n_test


def clopper_pearson(hits: int, total: int, level: float = 0.95) -> tuple[float, float]:
    """Returns the exact interval (low, high) of a probability, of which `hits` of `total` were measured."""
    from scipy.stats import beta

    low = float(beta.ppf((1 - level) / 2, hits, total - hits + 1)) if hits else 0.0
    high = float(beta.ppf((1 + level) / 2, hits + 1, total - hits)) if hits < total else 1.0
    return low, high

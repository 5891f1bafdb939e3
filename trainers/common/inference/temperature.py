"""Temperature scaling: softmax(logits / T) with the T that has the lowest NLL on validation images.

Guo et al. (2017), On Calibration of Modern Neural Networks, https://arxiv.org/abs/1706.04599. The predicted class stays
the same.
"""

from __future__ import annotations

import numpy as np

LIMIT = 2.0**20  # of T and 1 / T


def fit_temperature(logits: np.ndarray, labels: np.ndarray) -> float:
    """Returns the temperature with the lowest NLL of labels (n,), given logits (n, n_cls).

    The NLL is convex in the inverse temperature b = 1 / T, so its minimum is where its slope is 0: the mean over the
    images of (expected logit under softmax(b * logits)) - (logit of the true class).

    Raises ValueError if there is no minimum. If all images are classified correctly, the NLL decreases down to T = 0.
    If the logit of the true class is on average no higher than the mean of the logits, it decreases up to T = inf.
    """
    from scipy.optimize import brentq
    from scipy.special import softmax

    logits = np.asarray(logits, dtype=np.float64)
    logits = logits - logits.max(axis=1, keepdims=True)
    true = logits[np.arange(len(labels)), labels]
    if not np.isfinite(true).all():
        raise ValueError("an image has a true class of probability 0, so its NLL is infinite at every temperature")
    finite = np.where(np.isfinite(logits), logits, 0.0)  # excluded classes have -inf, and the weight 0 below

    def slope(b: float) -> float:
        return float(((softmax(b * logits, axis=1) * finite).sum(axis=1) - true).mean())

    low = high = 1.0
    while slope(low) > 0 and low > 1 / LIMIT:
        low /= 2
    while slope(high) < 0 and high < LIMIT:
        high *= 2
    if (true == 0).all() or slope(high) < 0:
        raise ValueError(
            f"all {len(labels):,} images are classified correctly, so the NLL has no minimum: it decreases with the "
            "temperature"
        )
    if slope(low) > 0:
        raise ValueError(
            f"the {len(labels):,} images are classified no better than by chance, so the NLL has no minimum: it "
            "decreases as the temperature grows"
        )
    return 1 / (low if low == high else brentq(slope, low, high, xtol=1e-12, rtol=1e-12))

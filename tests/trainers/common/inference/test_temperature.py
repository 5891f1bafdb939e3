"""Temperature scaling against a grid search; data sets whose NLL has no minimum."""

import numpy as np
import pytest
import torch

from tests.user_errors import raises_user_error
from trainers.common.inference.temperature import fit_temperature


def made(n=2000, n_cls=5, true_temperature=1.0, seed=0):
    """Logits whose labels are random with probabilities softmax(logits / true_temperature)."""
    rng = np.random.default_rng(seed)
    logits = 2 * rng.standard_normal((n, n_cls))
    noise = rng.gumbel(size=logits.shape)
    return logits, (logits / true_temperature + noise).argmax(axis=1)


def nll(logits, labels, temperature):
    return torch.nn.functional.cross_entropy(torch.tensor(logits) / temperature, torch.tensor(labels)).item()


@pytest.mark.parametrize("true_temperature", [0.4, 1.0, 3.0])
def test_it_is_the_best_of_a_grid(true_temperature):
    logits, labels = made(true_temperature=true_temperature)
    temperature = fit_temperature(logits.astype(np.float32), labels)
    grid = np.geomspace(0.1, 10, 2001)
    losses = [nll(logits, labels, t) for t in grid]
    assert temperature == pytest.approx(grid[np.argmin(losses)], rel=0.003)
    assert nll(logits, labels, temperature) <= min(losses) + 1e-9
    assert temperature == pytest.approx(true_temperature, rel=0.1)


def test_scaled_and_excluded_logits():
    logits, labels = made()
    temperature = fit_temperature(logits, labels)
    assert fit_temperature(1000 * logits + 7, labels) == pytest.approx(1000 * temperature, rel=1e-6)
    excluded = np.hstack([logits, np.full((len(logits), 1), -np.inf)])
    assert fit_temperature(excluded, labels) == pytest.approx(temperature)
    with raises_user_error("probability 0"):
        fit_temperature(excluded, np.full(len(logits), 5))


def test_no_minimum():
    logits, _ = made(12)
    with raises_user_error("all 12", "correct"):
        fit_temperature(logits, logits.argmax(axis=1))
    with raises_user_error("12 images", "chance"):
        fit_temperature(logits, logits.argmin(axis=1))
    tied = np.array([[0.0, 0.0], [0.0, 0.0]])
    with raises_user_error("all 2", "correct"):
        fit_temperature(tied, np.array([0, 1]))

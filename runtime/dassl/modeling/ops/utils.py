"""Ramp-ups, one-hot labels, shuffling and moving averages for semi-supervised learning."""

import math

import torch
from torch.nn import functional as F


def sharpen_prob(p: torch.Tensor, temperature: float = 2) -> torch.Tensor:
    """Raises probabilities (B, n_cls) to the power of `temperature` and normalizes them."""
    p = p.pow(temperature)
    return p / p.sum(1, keepdim=True)


def reverse_index(data: torch.Tensor, label: torch.Tensor):
    """Returns both in reverse order."""
    return data.flip(0), label.flip(0)


def shuffle_index(data: torch.Tensor, label: torch.Tensor):
    """Returns both in the same random order."""
    order = torch.randperm(data.shape[0])
    return data[order], label[order]


def create_onehot(label: torch.Tensor, num_classes: int) -> torch.Tensor:
    """Returns labels (B,) as one-hot rows (B, num_classes) of floats."""
    return F.one_hot(label, num_classes).float()


def sigmoid_rampup(current: float, rampup_length: float) -> float:
    """Returns exp(-5 (1 - t)^2), which rises from exp(-5) to 1 in `rampup_length` steps."""
    return math.exp(-5.0 * (1.0 - linear_rampup(current, rampup_length)) ** 2)


def linear_rampup(current: float, rampup_length: float) -> float:
    """Returns t = current / rampup_length, clipped to 0..1."""
    if rampup_length <= 0:
        raise ValueError(f"rampup_length must be positive, got {rampup_length}")
    return min(max(current / rampup_length, 0.0), 1.0)


@torch.no_grad()
def ema_model_update(model, ema_model, alpha: float) -> None:
    """Updates the parameters of `ema_model` to alpha * old + (1 - alpha) * those of the model."""
    for average, parameter in zip(ema_model.parameters(), model.parameters(), strict=True):
        average.mul_(alpha).add_(parameter, alpha=1 - alpha)

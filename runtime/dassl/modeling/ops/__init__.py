"""Losses and functions for semi-supervised learning and domain adaptation."""

from .cross_entropy import cross_entropy
from .mixup import mixup
from .reverse_grad import ReverseGrad

__all__ = ["ReverseGrad", "cross_entropy", "mixup"]

"""Losses and small functions of trainers for unlabelled images and other domains."""

from .cross_entropy import cross_entropy
from .mixup import mixup
from .reverse_grad import ReverseGrad

__all__ = ["ReverseGrad", "cross_entropy", "mixup"]

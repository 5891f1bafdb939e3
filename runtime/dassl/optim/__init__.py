"""Builds optimisers and learning rate schedules from the OPTIM section of the configuration."""

from .lr_scheduler import build_lr_scheduler
from .optimizer import build_optimizer

__all__ = ["build_lr_scheduler", "build_optimizer"]

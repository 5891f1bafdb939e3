"""Trainers: what they share, and how they are found by name."""

from .base import TrainerBase
from .build import TRAINER_REGISTRY, build_trainer
from .trainer import SimpleTrainer, TrainerX

__all__ = ["SimpleTrainer", "TRAINER_REGISTRY", "TrainerBase", "TrainerX", "build_trainer"]

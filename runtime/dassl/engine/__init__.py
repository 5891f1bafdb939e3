"""Trainers: what they share, and how they are found by name."""

from .build import TRAINER_REGISTRY, build_trainer
from .trainer import SimpleNet, SimpleTrainer, TrainerBase, TrainerX, TrainerXU

__all__ = [
    "SimpleNet", "SimpleTrainer", "TRAINER_REGISTRY", "TrainerBase", "TrainerX", "TrainerXU", "build_trainer",
]  # fmt: skip

"""Base classes and the registry of trainers."""

from .build import TRAINER_REGISTRY, build_trainer
from .trainer import SimpleNet, SimpleTrainer, TrainerBase, TrainerX, TrainerXU

__all__ = [
    "SimpleNet", "SimpleTrainer", "TRAINER_REGISTRY", "TrainerBase", "TrainerX", "TrainerXU", "build_trainer",
]  # fmt: skip

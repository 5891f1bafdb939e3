"""Evaluators turn model outputs into results."""

from .build import EVALUATOR_REGISTRY, build_evaluator
from .evaluator import Classification, EvaluatorBase

__all__ = ["Classification", "EVALUATOR_REGISTRY", "EvaluatorBase", "build_evaluator"]

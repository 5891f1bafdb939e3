"""Evaluators compute results from model outputs."""

from .build import EVALUATOR_REGISTRY, build_evaluator
from .evaluator import Classification, EvaluatorBase

__all__ = ["Classification", "EVALUATOR_REGISTRY", "EvaluatorBase", "build_evaluator"]

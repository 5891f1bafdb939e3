"""What the methods share, and `load_tuned`, which gives a classifier from what a run tuned."""

from .inference.classifier import load_tuned

__all__ = ["load_tuned"]

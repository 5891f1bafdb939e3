"""Datasets by registry name; importing this package fills Dassl's `DATASET_REGISTRY`."""

from . import caltech101, digits, dtd, eurosat

__all__ = ["caltech101", "digits", "dtd", "eurosat"]

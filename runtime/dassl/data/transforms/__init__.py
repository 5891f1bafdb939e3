"""Image transforms by name."""

from .transforms import AVAI_CHOICES, INTERPOLATION_MODES, RESIZE_MODES, build_transform, check_input

__all__ = ["AVAI_CHOICES", "INTERPOLATION_MODES", "RESIZE_MODES", "build_transform", "check_input"]

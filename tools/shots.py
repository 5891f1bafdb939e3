"""Names of numbers of training images per class. In config keys and records, "all" is the number -1."""

from .recipe import ALL


def shots_name(shots: int) -> str:
    """Returns "16" for 16 and "all" for -1."""
    return ALL if shots < 0 else str(shots)


def shots_text(shots: int) -> str:
    """Returns "1 shot", "16 shots" or "all images"."""
    return "all images" if shots < 0 else f"{shots} {'shot' if shots == 1 else 'shots'}"

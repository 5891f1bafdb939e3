"""What the methods share, and `load_tuned`, which makes a classifier from what a run tuned."""

__all__ = ["load_tuned"]


def __getattr__(name):
    """Import `load_tuned` when it is first used: reading a run's record needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .inference.classifier import load_tuned

    return load_tuned

"""Code shared by the methods, and `load_tuned`, which loads the classifier of a finished run."""

__all__ = ["load_tuned"]


def __getattr__(name):
    """Imports `load_tuned` on first use, so that run records can be read without torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from .inference.classifier import load_tuned

    return load_tuned

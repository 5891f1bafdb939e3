"""Datasets, transforms and loaders."""

__all__ = ["DataManager", "DatasetWrapper", "build_data_loader"]


def __getattr__(name):
    """Import the loaders when they are first used: `dassl.data.datasets` alone needs no torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import data_manager

    return getattr(data_manager, name)

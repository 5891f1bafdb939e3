"""Datasets, transforms and loaders."""

__all__ = ["DataManager", "DatasetWrapper", "build_data_loader"]


def __getattr__(name):
    """Imports the loaders on first use, since `dassl.data.datasets` works without torch."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from . import data_manager

    return getattr(data_manager, name)

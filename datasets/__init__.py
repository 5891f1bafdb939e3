"""Datasets by registry name; importing this package imports its modules, which fills Dassl's `DATASET_REGISTRY`."""

import importlib
import pkgutil


def register_all() -> None:
    """Import every module here: a dataset is registered because its file exists."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


register_all()

"""The datasets. Importing this package imports all of its modules, which register in Dassl's `DATASET_REGISTRY`."""

import importlib
import pkgutil


def register_all() -> None:
    """Imports every module of this package. A new dataset needs only a new file."""
    for module in pkgutil.iter_modules(__path__):
        importlib.import_module(f"{__name__}.{module.name}")


register_all()

"""The methods, one file each."""

import importlib
import pkgutil

import runtime  # noqa: F401  (makes dassl importable)


def register_all() -> None:
    """Import every method, which registers its trainer and its config keys with Dassl."""
    for module in pkgutil.iter_modules(__path__[:1]):  # without what plugins have added
        if not module.ispkg:
            importlib.import_module(f"{__name__}.{module.name}")

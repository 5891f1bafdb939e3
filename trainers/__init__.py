"""The methods, one file each."""

import importlib
import pkgutil

import runtime  # noqa: F401  (makes dassl importable)


def register_all() -> None:
    """Imports every method, which registers its trainer and config keys with Dassl."""
    for module in pkgutil.iter_modules(__path__[:1]):  # plugins append their folders to __path__
        if not module.ispkg:
            importlib.import_module(f"{__name__}.{module.name}")

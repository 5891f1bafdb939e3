"""Imports the modules of the checkout without taking their names from other packages.

The checkout has top-level packages with common names: `datasets`, `trainers`, `tools`, ... In a wheel it is the folder
`clipfit/_checkout`, which is not on `sys.path`. There are two ways to run its code:

- The command `clipfit` runs a program as `python train.py` does, in a process of its own. The checkout is first on its
  `sys.path`, and the modules have their own names.
- In a user's Python, its modules have the prefix `clipfit._checkout`: `load("trainers.common")` imports
  `clipfit._checkout.trainers.common`. Their source says `from datasets.base import ...`. An import statement calls the
  `__import__` of its module's `__builtins__`, so `Loader` gives them one that adds the prefix to the NAMES. All other
  code in the process imports Hugging Face's `datasets`, before and after, in every thread.

Nothing is renamed on disk, so there is one copy of the code. Classes are pickled under names that a worker process can
import, and plugins are imported by the same loader. The bundled Dassl has the prefix as well: methods and config keys
are not added to a Dassl that the user has installed.
"""

from __future__ import annotations

import builtins
import importlib
import sys
from importlib.machinery import PathFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType

FOLDER = Path(__file__).resolve().parent
ROOT = FOLDER / "_checkout" if (FOLDER / "_checkout").is_dir() else FOLDER.parent  # a checkout, or installed with -e
PACKAGE = f"{__package__}._checkout"
NAMES = {"assets", "dassl", "datasets", "parse_test_res", "runtime", "tools", "train", "trainers"}


def load(name: str) -> ModuleType:
    """Imports a module of the checkout, such as `trainers.common`."""
    return importlib.import_module(name if is_program() else f"{PACKAGE}.{name}")


def is_program() -> bool:
    """Whether this process runs a program of the checkout, or its tests: its modules have no prefix there."""
    file = getattr(sys.modules.get("runtime"), "__file__", None)
    return file is not None and Path(file).resolve().parent == ROOT / "runtime"


def import_with_prefix(name, globals=None, locals=None, fromlist=(), level=0):
    """The `__import__` of the checkout's modules."""
    top = name.partition(".")[0]
    if level or top not in NAMES:
        return builtins.__import__(name, globals, locals, fromlist, level)
    # With a `fromlist`, the original returns the last module of the dotted name, else the first.
    module = builtins.__import__(f"{PACKAGE}.{name}", globals, locals, fromlist or ("__name__",), 0)
    return module if fromlist else sys.modules[f"{PACKAGE}.{top}"]


BUILTINS = {**vars(builtins), "__import__": import_with_prefix}


class Loader(SourceFileLoader):
    """Executes a module with BUILTINS."""

    def exec_module(self, module: ModuleType) -> None:
        module.__dict__["__builtins__"] = BUILTINS
        super().exec_module(module)


class Finder:
    """Finds the modules below PACKAGE, for `sys.meta_path`."""

    @staticmethod
    def find_spec(name: str, path=None, target=None):
        if not name.startswith(f"{PACKAGE}."):
            return None
        spec = PathFinder.find_spec(name, path, target)
        if spec is not None and type(spec.loader) is SourceFileLoader:
            spec.loader = Loader(spec.loader.name, spec.loader.path)
        return spec


def install() -> None:
    """Makes the modules below PACKAGE importable. Imports none of them."""
    if PACKAGE not in sys.modules:
        package = ModuleType(PACKAGE, "The checkout's packages.")
        package.__path__ = [str(ROOT), str(ROOT / "runtime")]  # the second has dassl
        sys.modules[PACKAGE] = package
        sys.meta_path.insert(0, Finder)

"""The command `clipfit`: runs the programs of the checkout.

    clipfit train --help
    clipfit sweep base2new --methods CLIPFit CoOp
    clipfit predict output/mine cat.jpg

`clipfit NAME` is `python tools/NAME.py` or `python NAME.py` in a checkout, with the same options.
"""

from __future__ import annotations

import argparse
import ast
import importlib
import os
import sys
from pathlib import Path

from .checkout import ROOT

MAIN = '__name__ == "__main__"'


def programs() -> dict[str, Path]:
    """Returns the programs by name: train, parse_test_res, and those in tools/."""
    files = [ROOT / "train.py", *sorted((ROOT / "tools").glob("*.py")), ROOT / "parse_test_res.py"]
    return {file.stem: file for file in files if MAIN in file.read_text(encoding="utf-8")}


def summary(file: Path) -> str:
    """Returns the first line of a program's docstring."""
    return (ast.get_docstring(ast.parse(file.read_text(encoding="utf-8"))) or "").partition("\n")[0]


def help_text() -> str:
    lines = [f"  {name:<20}{summary(file)}" for name, file in programs().items()]
    return f"{__doc__}\nPrograms (`clipfit NAME --help` shows the options of one):\n" + "\n".join(lines)


def main(argv: list[str] | None = None) -> int:
    """Runs a program and returns its exit code."""
    argv = sys.argv[1:] if argv is None else argv
    if "_ARGCOMPLETE" in os.environ:
        from .completion import complete

        complete()
    if not argv or argv[0] in ("-h", "--help"):
        print(help_text())
        return 0 if argv else 2
    if argv[0] == "--version":
        from . import __version__

        print(f"clipfit {__version__}")
        return 0
    name = argv[0].replace("-", "_")
    if name not in programs():
        print(f"error: clipfit has no program {argv[0]!r}: must be one of {', '.join(programs())}", file=sys.stderr)
        return 2
    return run(name, argv[1:])


def run(name: str, argv: list[str]) -> int:
    """Runs a program as `python NAME.py ARGV` does. From now on, the checkout is first on `sys.path`."""
    sys.argv = [f"clipfit {name}", *argv]
    sys.path.insert(0, str(ROOT))
    from runtime.installation import as_typed  # of the checkout; errors use it as well

    format_help = argparse.ArgumentParser.format_help
    argparse.ArgumentParser.format_help = lambda parser: as_typed(format_help(parser))
    file = programs()[name].relative_to(ROOT)
    return importlib.import_module(".".join(file.with_suffix("").parts)).main()

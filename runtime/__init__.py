"""Makes `dassl` importable.

Uses an installed upstream Dassl if there is one, else the bundled implementation of its API (`runtime/dassl`).
`CLIPFIT_DASSL=bundled` forces the bundled one.
"""

import importlib.util
import os
import sys
from pathlib import Path

BUNDLED = str(Path(__file__).resolve().parent)


def use_dassl() -> None:
    """Adds the bundled `dassl` to `sys.path`: at the end if no other is installed, at the front if it is forced."""
    choice = os.environ.get("CLIPFIT_DASSL", "")
    if choice not in ("", "bundled"):
        raise ValueError(f"CLIPFIT_DASSL must be 'bundled' or unset, got {choice!r}")
    if BUNDLED in sys.path:
        return
    if choice == "bundled":
        sys.path.insert(0, BUNDLED)
    elif importlib.util.find_spec("dassl") is None:
        sys.path.append(BUNDLED)


if __name__ == "runtime":  # in a user's Python it has a prefix, and so has the bundled `dassl` (clipfit/checkout.py)
    try:
        use_dassl()
    except ValueError as error:  # no program has started that would report it
        sys.exit(f"error: {error}")

"""Where the code is: in a checkout, or in the installed package `clipfit` (setup.py)."""

from __future__ import annotations

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = ROOT.name == "_checkout"  # nothing is written there, and programs are called `clipfit NAME`


def find_config(path: str) -> str:
    """Returns a path of the command line. If only the repository has such a file (configs/...), returns that one's."""
    own = ROOT / path
    return str(own) if not os.path.exists(path) and own.is_file() else path

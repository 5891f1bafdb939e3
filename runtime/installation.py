"""Where the code is: in a checkout, or in the installed package `clipfit` (setup.py)."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
INSTALLED = ROOT.name == "_checkout"  # nothing is written there, and programs are called `clipfit NAME`


def find_config(path: str) -> str:
    """Returns a path of the command line. If only the repository has such a file (configs/...), returns that one's."""
    own = ROOT / path
    return str(own) if not os.path.exists(path) and own.is_file() else path


COMMAND = "clipfit"  # the first word of `sys.argv[0]` if the user typed `clipfit NAME`
PROGRAM = re.compile(r"\bpython ((?:tools/)?(\w+)\.py)\b")


def as_typed(text: str) -> str:
    """Returns a text for the user in which programs have the names under which this one was started.

    If the user typed `clipfit sweep`, or has no checkout, `python tools/predict.py RUN` becomes `clipfit predict RUN`.
    """
    if not INSTALLED and sys.argv[0].split(" ")[0] != COMMAND:
        return text
    return PROGRAM.sub(lambda match: f"{COMMAND} {match[2]}" if (ROOT / match[1]).is_file() else match[0], text)

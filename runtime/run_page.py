"""Writes the page of a run after its training, by tools/show.py in a process of its own, which cannot harm the run."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from .installation import as_typed

SHOW = Path(__file__).resolve().parent.parent / "tools" / "show.py"
NEEDED = ("jinja2", "matplotlib", "pandas")


def at_terminal() -> bool:
    """Whether a person started this program and reads what it prints, not a sweep, a scheduler or another program."""
    try:
        return os.isatty(1)
    except OSError:
        return False


def write(folder: str) -> None:
    """Writes the page of the run in `folder`, and prints its path or, in one line, why there is none."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        print(f"Note: no page of the run, which needs {', '.join(missing)} (requirements-report.txt)")
        return
    command = [sys.executable, "-W", "ignore", str(SHOW), folder]
    try:
        done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL)
    except KeyboardInterrupt:  # the run itself is complete
        print(as_typed(f"Note: no page of the run; to write it: python tools/show.py {folder}"))
        return
    lines = done.stdout.strip().splitlines() or done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
    print(lines[-1] if done.returncode == 0 else as_typed(f"Note: no page of the run: {lines[-1]}"))

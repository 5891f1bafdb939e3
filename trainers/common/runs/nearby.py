"""Names the run directories near a folder that is none, for errors. Standard library only."""

from __future__ import annotations

import difflib
import os
import re
from pathlib import Path

RECORD = "result.json"
LOG = re.compile(r"log\.txt(-[\d-]+)?")  # log.txt-<date> is that of a later run in the same folder
SHOWN = 2  # run directories in a hint
MAX_FOLDERS = 2000  # that are read; a user may give the root of a disk
LEVELS_UP = 3  # such as RUN/clipfit, or a page in RUN/page/images


def is_run(folder: str | os.PathLike) -> bool:
    """Whether a folder has a record or a log. False if it cannot be read."""
    try:
        return any(name == RECORD or LOG.fullmatch(name) for name in os.listdir(folder))
    except OSError:
        return False


def runs_below(folder: str | os.PathLike) -> list[Path]:
    """Returns the run directories below a folder, the nearest first. Follows no links.

    Reads at most MAX_FOLDERS folders. What is in a run directory is no run of its own.
    """
    found = []
    level = [Path(folder)]
    read = 0
    while level and read < MAX_FOLDERS:
        inner = []
        for parent in level[: MAX_FOLDERS - read]:
            read += 1
            inner += subfolders(parent)
        found += [path for path in inner if is_run(path)]
        level = [path for path in inner if path not in found]
    return found


def subfolders(folder: Path) -> list[Path]:
    """Returns the folders in a folder that are not hidden, sorted; none if it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            names = [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError:
        return []
    return [folder / name for name in sorted(names) if not name.startswith(".")]


def run_above(path: str | os.PathLike) -> Path | None:
    """Returns the nearest run directory around a path, at most LEVELS_UP levels up."""
    parents = Path(os.path.abspath(path)).parents
    found = next((parent for parent in parents[:LEVELS_UP] if is_run(parent)), None)
    return Path(os.path.relpath(found)) if found else None


def hint(path: str | os.PathLike) -> str:
    """Returns ". ..." with the run directories that a user may have meant by a path that is none, else ""."""
    if not os.path.exists(path):
        folder, name = os.path.split(os.path.normpath(path))
        close = difflib.get_close_matches(name, [p.name for p in subfolders(Path(folder or "."))], n=1)
        return f". Did you mean {os.path.join(folder, close[0])}?" if close else ""
    if is_run(path):
        return ""
    above = run_above(path)
    if above:
        return f". It is in the run directory {above}: give that"
    found = runs_below(path)
    if not found:
        return ""
    more = f", ... ({len(found)} in all)" if len(found) > SHOWN else ""
    return f". Run directories below it: {', '.join(map(str, found[:SHOWN]))}{more}"

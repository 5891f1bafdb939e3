"""Finds the runs below some folders: one run per folder, from its `result.json`, else from its log.txt."""

import os
import time
from pathlib import Path

from parse_test_res import logs_in
from trainers.common.runs.record_schema import FILE as RECORD

from .logs import read_log, where_it_ends
from .problems import Problem
from .run import Run, read_record

SKIPPED_FOLDERS = ("tensorboard", "__pycache__", "node_modules")
RECENT = 600  # seconds; an unfinished run whose log was written more recently may still be running


def scan(paths: list) -> tuple[list[Run], list[Problem]]:
    """Returns all runs below `paths`, each folder once, and their problems.

    A path may be a tree, a run directory, or a file in one. A path without runs is a problem ("missing").
    """
    runs = []
    problems = []
    visited = set()
    for path in map(Path, paths):
        folders = list(run_folders(path.parent if path.is_file() else path))
        for folder in folders:
            real_path = os.path.realpath(folder)
            if real_path in visited:
                continue
            visited.add(real_path)
            run, folder_problems = read_folder(folder)
            if run:
                runs.append(run)
            problems += folder_problems
        if not folders:
            problems.append(Problem("missing", str(path), "contains no run" if path.exists() else "does not exist"))
    return runs, problems


def run_folders(top: Path):
    """Yields the folders below `top` with a record or a log, in order. Follows links, but not loops."""
    visited = set()
    for name, folders, files in os.walk(top, followlinks=True):
        real_path = os.path.realpath(name)
        if real_path in visited:
            folders.clear()
            continue
        visited.add(real_path)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in SKIPPED_FOLDERS)
        if RECORD in files or logs_in(name):
            yield Path(name)


def read_folder(folder: Path) -> tuple[Run | None, list[Problem]]:
    """Returns the run of a folder, and its problems. Reads the logs if the record is missing or corrupted."""
    logs = logs_in(folder)
    if not (folder / RECORD).exists():
        return read_logs(folder, logs)
    try:
        run = read_record(folder / RECORD)
    except (ValueError, OSError) as error:
        run, problems = read_logs(folder, logs)
        if run and run.finished:
            message = f"{RECORD} is corrupted; using {run.extra['log']}"
            problems.append(Problem("inconsistent", str(folder), message))
        return run, [Problem("corrupted", str(folder / RECORD), str(error)), *problems]
    return run, check_record(run, logs)


def check_record(run: Run, logs: list[Path]) -> list[Problem]:
    """Returns problems of a run with a valid record: unfinished, older records, later runs, other settings in logs."""
    folder = str(run.folder)
    problems = []
    for old in sorted(run.folder.glob(f"{RECORD}-*")):
        message = f"{old.name} belongs to an earlier run with different settings; ignored"
        problems.append(Problem("inconsistent", folder, message))
    if not run.finished:
        run.remark = "did not finish"
        if logs:
            lines = logs[-1].read_text(encoding="utf-8", errors="replace").splitlines()
            run.remark = where_it_ends(lines, run.eval_only) + still_running(logs[-1])
        return [*problems, Problem("unfinished", folder, run.remark)]
    written = (run.extra["written"] or "")[:19].replace(":", "-").replace("T", "-")  # format of Dassl's log dates
    for path in logs:
        try:
            log = read_log(path)
        except (ValueError, OSError):
            continue
        later = written and path.name.removeprefix("log.txt").removeprefix("-") > written
        keys = different_keys(log.setup.settings, run.setup.settings)
        if later and not log.finished:
            message = f"a later run ({path.name}) {log.remark}; using the earlier {RECORD}{still_running(path)}"
            problems.append(Problem("inconsistent", folder, message))
        elif keys and path == logs[-1]:
            message = f"{path.name} and {RECORD} have different settings ({', '.join(keys)}); using {RECORD}"
            problems.append(Problem("inconsistent", folder, message))
    return problems


def read_logs(folder: Path, logs: list[Path]) -> tuple[Run | None, list[Problem]]:
    """Returns the run of a folder's logs, and its problems.

    Uses the first log with a result, as CoOp reads log.txt, or the last log if none has a result.
    """
    runs = []
    problems = []
    for path in logs:
        try:
            runs.append(read_log(path))
        except (ValueError, OSError) as error:
            problems.append(Problem("corrupted", str(path), f"not a log of a run: {error}"))
    finished = [run for run in runs if run.finished]
    if not runs:
        return None, problems
    if not finished:
        last = runs[-1]
        message = last.remark + still_running(folder / last.extra["log"])
        return last, [*problems, Problem("unfinished", str(folder), message)]
    run = finished[0]
    if run.extra["log"] != logs[0].name:
        message = f"{logs[0].name} has no result; using {run.extra['log']}"
        problems.append(Problem("inconsistent", str(folder), message))
    for other in finished[1:]:
        keys = different_keys(other.setup.settings, run.setup.settings)
        if keys or other.accuracy != run.accuracy:
            difference = f"different settings ({', '.join(keys)})" if keys else f"accuracy {other.accuracy:.2f}"
            message = f"{other.extra['log']} has {difference}; using {run.extra['log']} ({run.accuracy:.2f})"
            problems.append(Problem("duplicate", str(folder), message))
    return run, problems


def different_keys(one: dict, other: dict) -> list[str]:
    """Returns the keys that both have with different values."""
    return sorted(key for key in one.keys() & other.keys() if one[key] != other[key])


def still_running(log: Path) -> str:
    """Returns a remark if a log was last written less than RECENT seconds ago, else ""."""
    seconds = time.time() - log.stat().st_mtime
    return f" (last written {seconds / 60:.0f} min ago; may still be running)" if 0 <= seconds < RECENT else ""

"""Finds the runs below some folders, from `result.json` and the records of evaluations, else from log.txt."""

import os
import re
from pathlib import Path

from tools import choices
from tools.records import instant
from trainers.common.runs.nearby import hint
from trainers.common.runs.record_schema import FILE as RECORD

from .logs import literal
from .problems import Problem
from .run import EVALUATION, Run, read_record
from .run_logs import different_keys, logs_in, own_log, read_all, run_of_logs, still_running, where_log_ends

SKIPPED_FOLDERS = ("tensorboard", "__pycache__", "node_modules")
EVALUATION_RECORD = re.compile(rf"{EVALUATION}.+\.json")


def scan(paths: list) -> tuple[list[Run], list[Problem]]:
    """Returns all runs below `paths`, each folder once, and their problems.

    A path may be a tree, a run directory, or a file in one. A path without runs is a problem ("missing").
    """
    runs = []
    problems = []
    visited = set()
    for path in map(Path, paths):
        folders, unreadable = run_folders(path.parent if path.is_file() else path)
        for folder in folders:
            real_path = os.path.realpath(folder)
            if real_path in visited:
                continue
            visited.add(real_path)
            folder_runs, folder_problems = read_folder(folder)
            runs += folder_runs
            problems += folder_problems
        problems += unreadable
        if not folders and not unreadable:
            problem = f"{'contains no run' if path.exists() else 'does not exist'}{hint(path)}"
            problems.append(Problem("missing", str(path), problem))
    return runs, problems


def run_folders(top: Path) -> tuple[list[Path], list[Problem]]:
    """Returns the folders below `top` with a record or a log, in order, and the folders that cannot be read.

    Follows links, but not loops.
    """
    visited = set()
    found = []
    errors = []
    for name, folders, files in os.walk(top, followlinks=True, onerror=errors.append):
        real_path = os.path.realpath(name)
        if real_path in visited:
            folders.clear()
            continue
        visited.add(real_path)
        has_record = any(entry == RECORD or EVALUATION_RECORD.fullmatch(entry) for entry in files + folders)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in SKIPPED_FOLDERS)
        if has_record or logs_in(name):
            found.append(Path(name))
    missing = (FileNotFoundError, NotADirectoryError)
    unreadable = [error for error in errors if not isinstance(error, missing)]
    return found, [
        Problem("corrupted", str(error.filename), f"cannot be read ({error.strerror})") for error in unreadable
    ]


def read_folder(folder: Path) -> tuple[list[Run], list[Problem]]:
    """Returns the runs of a folder: its own, and evaluations whose records were written there. And their problems.

    Reads the logs if `result.json` is missing or corrupted.
    """
    logs = logs_in(folder)
    log_runs, problems = read_all(logs)
    run = None
    if os.path.lexists(folder / RECORD):
        run, record_problems = read_checked(folder / RECORD, logs, log_runs)
        problems += record_problems
    if run is None:
        run, log_problems = run_of_logs(folder, logs, log_runs)
        problems += log_problems
        if run and run.finished and os.path.lexists(folder / RECORD):
            problems.append(Problem("inconsistent", str(folder), f"{RECORD} is corrupted; using {run.file}"))
    if run and run.eval_only:
        problems += add_choice(run)
    runs = [run] if run else []
    for path in sorted(folder.glob(f"{EVALUATION}*.json")):
        if EVALUATION_RECORD.fullmatch(path.name):
            run, record_problems = read_checked(path, logs, log_runs)
            problems += record_problems
            runs += [run] if run else []
    return runs, problems


def add_choice(run: Run) -> list[Problem]:
    """Sets how the training of a test was chosen on validation images. Returns the problems of choice.json."""
    subject = str(run.folder / choices.FILE)
    try:
        choice = choices.read(run.folder)
    except (ValueError, OSError) as error:
        return [Problem("corrupted", subject, reason(error))]
    settings = (run.training.settings if run.training else None) or {}
    for key, value in choice.chosen.values.items() if choice else ():
        tested = settings.get(key)
        if plain_text(tested) != plain_text(literal(value)):
            return [Problem("corrupted", subject, f"{key} {value} was chosen, but the tested run has {tested}")]
    run.choice = choice
    return []


def plain_text(value) -> str:
    """Returns a text that is equal for equal values, such as a tuple and a list."""
    return str(list(value) if isinstance(value, tuple) else value)


def read_checked(path: Path, logs: list[Path], log_runs: list[Run]) -> tuple[Run | None, list[Problem]]:
    """Returns the run of a record, None if it is corrupted, and its problems."""
    try:
        run = read_record(path)
    except (ValueError, OSError) as error:
        return None, [Problem("corrupted", str(path), reason(error))]
    return run, check_record(run, logs, log_runs)


def reason(error: Exception) -> str:
    """Returns why a file cannot be read, without its path."""
    if isinstance(error, FileNotFoundError):
        return "is a link to a file that does not exist"
    return str(getattr(error, "strerror", None) or error)


def check_record(run: Run, logs: list[Path], log_runs: list[Run]) -> list[Problem]:
    """Returns problems of a run with a valid record: unfinished, older records, later runs, logs that contradict it."""
    problems = []
    is_main = run.file == RECORD
    for old in sorted(run.folder.glob(f"{RECORD}-*")) if is_main else ():
        message = f"{old.name} belongs to an earlier run with different settings; ignored"
        problems.append(Problem("inconsistent", run.subject, message))
    if not run.finished:
        run.remark = "did not finish"
        if logs and is_main:
            run.remark = where_log_ends(logs[-1], run.eval_only) + still_running(logs[-1])
        return [*problems, Problem("unfinished", run.subject, run.remark)]
    own = own_log(run, log_runs)
    if own and abs(own.accuracy - run.accuracy) > own.extra["rounding"] + 1e-6:
        message = f"{run.file} has accuracy {run.accuracy:.2f}, but {own.file} has {own.accuracy:.2f}"
        problems.append(Problem("corrupted", run.subject, f"{message}; using {run.file}"))
    if is_main:
        problems += check_other_logs(run, log_runs, own)
    return problems


def check_other_logs(run: Run, log_runs: list[Run], own: Run | None) -> list[Problem]:
    """Returns problems of a folder's logs: later runs that did not finish, and a last log with other settings."""
    problems = []
    for log in log_runs:
        path = log.folder / log.file
        keys = different_keys(log.setup.settings, run.setup.settings)
        if not log.finished and is_later(log, run, log_runs, own):
            message = f"a later run ({log.file}) {log.remark}; using the earlier {RECORD}{still_running(path)}"
            problems.append(Problem("inconsistent", run.subject, message))
        elif keys and log is log_runs[-1]:
            message = f"{log.file} and {RECORD} have different settings ({', '.join(keys)}); using {RECORD}"
            problems.append(Problem("inconsistent", run.subject, message))
    return problems


def is_later(log: Run, run: Run, log_runs: list[Run], own: Run | None) -> bool:
    """Returns whether an unfinished log belongs to a later run than a finished record.

    The dates in the names of logs are local times of an unknown time zone. They tell the order of logs, but are never
    compared with the time in the record. Without the log of the record's run, the time of the last change decides.
    """
    if own:
        return log_runs.index(log) > log_runs.index(own)
    written = instant(run.extra["written"])
    return log.file != "log.txt" and written is not None and (log.folder / log.file).stat().st_mtime > written

"""Reads the logs of one run directory: log.txt and the log.txt-<date> of later runs."""

import re
import time
from pathlib import Path

from parse_test_res import logs_in as find_logs
from trainers.common.runs.log_lines import read_text

from .logs import read_log, where_it_ends
from .problems import Problem
from .run import EVALUATION, LAST, Run, registry_name

RECENT = 600  # seconds; an unfinished run whose log was written more recently may still be running


def logs_in(folder) -> list[Path]:
    """Returns log.txt and the log.txt-<date> of later runs, oldest first; none if the folder cannot be read."""
    try:
        return find_logs(folder)
    except OSError:
        return []


def read_all(logs: list[Path]) -> tuple[list[Run], list[Problem]]:
    """Returns the runs of the logs that can be read, oldest first, and a problem for each of the others."""
    runs = []
    problems = []
    for path in logs:
        try:
            runs.append(read_log(path))
        except (ValueError, OSError) as error:
            reason = getattr(error, "strerror", None) or error
            problems.append(Problem("corrupted", str(path), f"not a log of a run: {reason}"))
    return runs, problems


def own_log(run: Run, log_runs: list[Run]) -> Run | None:
    """Returns the log of a finished record's run: the last one that finished, with the same settings and test."""
    own = None
    for log in log_runs:
        same_test = (log.eval_only or log.zero_shot, log.split) == (run.eval_only or run.zero_shot, run.split)
        same_data = (registry_name(log.dataset), log.classes) == (registry_name(run.dataset), run.classes)
        same_settings = not different_keys(log.setup.settings, run.setup.settings)
        if log.finished and same_test and same_data and same_settings and same_epoch(run, log):
            own = log
    return own


def same_epoch(run: Run, log: Run) -> bool:
    """Returns whether a log's evaluation may have loaded the epoch that a record names.

    A log names the epoch only if the command line did (--load-epoch).
    """
    in_log = log.tested_model if log.tested_model.startswith("epoch ") else None
    if run.file.startswith(EVALUATION):  # the name of this record ends in -epoch10.json if the command line named it
        match = re.search(r"-epoch(\d+)\.json$", run.file)
        return in_log == (f"epoch {match[1]}" if match else None)
    return not run.eval_only or in_log in (None, run.tested_model) or run.tested_model == LAST


def run_of_logs(folder: Path, logs: list[Path], runs: list[Run]) -> tuple[Run | None, list[Problem]]:
    """Returns the run of a folder without a record, and its problems.

    Uses the first log with a result, as CoOp reads log.txt, or the last log if none has a result.

    Args:
        runs: runs of the logs that can be read.
    """
    problems = []
    finished = [run for run in runs if run.finished]
    if not runs:
        return None, problems
    if not finished:
        last = runs[-1]
        message = last.remark + still_running(folder / last.file)
        return last, [Problem("unfinished", str(folder), message)]
    run = finished[0]
    if run.file != logs[0].name:
        message = f"{logs[0].name} has no result; using {run.file}"
        problems.append(Problem("inconsistent", str(folder), message))
    for other in finished[1:]:
        keys = different_keys(other.setup.settings, run.setup.settings)
        if keys or other.accuracy != run.accuracy:
            difference = f"different settings ({', '.join(keys)})" if keys else f"accuracy {other.accuracy:.2f}"
            message = f"{other.file} has {difference}; using {run.file} ({run.accuracy:.2f})"
            problems.append(Problem("duplicate", str(folder), message))
    return run, problems


def where_log_ends(log: Path, eval_only: bool) -> str:
    try:
        return where_it_ends(read_text(log).split("\n"), eval_only)
    except (OSError, ValueError):
        return "did not finish"


def different_keys(one: dict, other: dict) -> list[str]:
    """Returns the keys that both have with different values."""
    return sorted(key for key in one.keys() & other.keys() if one[key] != other[key])


def still_running(log: Path) -> str:
    """Returns a remark if a log was last written less than RECENT seconds ago, else ""."""
    seconds = time.time() - log.stat().st_mtime
    return f" (last written {seconds / 60:.0f} min ago; may still be running)" if 0 <= seconds < RECENT else ""

"""Finds the runs below some folders: one run a folder, from its `result.json`, else from its log.txt."""

import os
import time
from pathlib import Path

from parse_test_res import logs_in
from trainers.common.runs.record_schema import FILE as RECORD

from .logs import read_log, where_it_stopped
from .problems import Problem
from .run import Run, read_record

SKIPPED = ("tensorboard", "__pycache__", "node_modules")
RECENT = 600  # seconds since its log was last written in which a run may still be going on


def scan(paths: list) -> tuple[list[Run], list[Problem]]:
    """All runs below `paths`, each folder once, and what is wrong with them.

    A path may be a tree, a run's folder, or a file in it. A path that is not there is a problem of kind "missing".
    """
    runs, problems, seen = [], [], set()
    for path in map(Path, paths):
        found = 0
        for folder in run_folders(path if not path.is_file() else path.parent):
            found += 1
            real = os.path.realpath(folder)
            if real not in seen:
                seen.add(real)
                run, wrong = read_folder(folder)
                runs += [run] if run else []
                problems += wrong
        if not found:
            there = "no run in it" if path.exists() else "not there"
            problems.append(Problem("missing", str(path), there))
    return runs, problems


def run_folders(top: Path):
    """Folders below `top`, in order, that hold a record or a log. Links are followed, loops are not."""
    visited = set()
    for name, folders, files in os.walk(top, followlinks=True):
        real = os.path.realpath(name)
        if real in visited:
            folders.clear()
            continue
        visited.add(real)
        folders[:] = sorted(f for f in folders if not f.startswith(".") and f not in SKIPPED)
        if RECORD in files or logs_in(name):
            yield Path(name)


def read_folder(folder: Path) -> tuple[Run | None, list[Problem]]:
    """The run of a folder, and what is wrong with it."""
    logs, problems = logs_in(folder), []
    if (folder / RECORD).exists():
        try:
            run = read_record(folder / RECORD)
        except (ValueError, OSError) as error:
            problems.append(Problem("damaged", str(folder / RECORD), str(error)))
        else:
            return run, check_record(run, logs)
    run, wrong = read_logs(folder, logs)
    if problems and run and run.finished:
        wrong.append(Problem("stale", str(folder), f"taken from {run.extra['log']}, as its {RECORD} is damaged"))
    return run, problems + wrong


def check_record(run: Run, logs: list[Path]) -> list[Problem]:
    """What the files beside a valid record tell: how far an unfinished run came, later runs, other settings."""
    problems, where = [], str(run.folder)
    for old in sorted(run.folder.glob(f"{RECORD}-*")):
        problems.append(Problem("stale", where, f"{old.name} is of an earlier run with other settings; not counted"))
    if not run.finished:
        run.remark = "did not finish"
        if logs:
            lines = logs[-1].read_text(encoding="utf-8", errors="replace").splitlines()
            run.remark = where_it_stopped(lines, run.eval_only) + still_running(logs[-1])
        return [*problems, Problem("unfinished", where, run.remark)]
    written = (run.extra["written"] or "")[:19].replace(":", "-").replace("T", "-")  # as Dassl dates its logs
    for path in logs:
        later = written and path.name[len("log.txt-") :] > written
        try:
            log = read_log(path)
        except (ValueError, OSError):
            continue
        changed = differing(log.own.settings, run.own.settings)
        if later and not log.finished:
            text = f"{path.name} is of a later run that {log.remark}; the result is the earlier one's"
            problems.append(Problem("stale", where, text + still_running(path)))
        elif changed and path == logs[-1]:
            text = f"{path.name} and {RECORD} are of different settings ({', '.join(changed)}); {RECORD} is taken"
            problems.append(Problem("stale", where, text))
    return problems


def read_logs(folder: Path, logs: list[Path]) -> tuple[Run | None, list[Problem]]:
    """The run that the logs of a folder tell of: the first with a result, as CoOp reads log.txt, else the last."""
    runs, problems, where = [], [], str(folder)
    for path in logs:
        try:
            runs.append(read_log(path))
        except (ValueError, OSError) as error:
            problems.append(Problem("damaged", str(path), f"not a log of a run: {error}"))
    finished = [run for run in runs if run.finished]
    if not finished:
        if runs:
            remark = runs[-1].remark + still_running(folder / runs[-1].extra["log"])
            problems.append(Problem("unfinished", where, remark))
        return (runs[-1] if runs else None), problems
    run = finished[0]
    if run.extra["log"] != logs[0].name:
        problems.append(Problem("stale", where, f"{logs[0].name} has no result; {run.extra['log']} is taken"))
    for other in finished[1:]:
        changed = differing(other.own.settings, run.own.settings)
        if changed or other.accuracy != run.accuracy:
            what = f"has other settings ({', '.join(changed)})" if changed else f"says {other.accuracy:.2f}"
            text = f"{other.extra['log']} {what}; {run.extra['log']} with {run.accuracy:.2f} is taken"
            problems.append(Problem("duplicate", where, text))
    return run, problems


def differing(one: dict, other: dict) -> list[str]:
    """Keys that both have, with different values."""
    return sorted(key for key in one.keys() & other.keys() if one[key] != other[key])


def still_running(log: Path) -> str:
    """A remark where a log was written to a short while ago."""
    minutes = (time.time() - log.stat().st_mtime) / 60
    return f" (written {minutes:.0f} min ago: it may still be running)" if 0 <= minutes * 60 < RECENT else ""

"""Writes and reads console.log: what a job prints, with a first and a last line for each attempt."""

import os
import re
import shlex
import time
from pathlib import Path

from trainers.common.runs.log_lines import BATCH, body, metric, share_trained

FILE = "console.log"
STARTED = "== started "
ENDED = "== ended with exit code "
INTERRUPTED = 130  # exit code noted for a job that was stopped together with the sweep
SIGNALS = {-9: "killed (out of memory?)", 137: "killed (out of memory?)", -15: "terminated", 143: "terminated"}
KILLED = re.compile(r"exitcode +: -9\b")  # a process of several, in torchrun's report
TAIL_BYTES = 20_000  # enough for the last progress line; the file grows to megabytes


def start_attempt(folder: Path, command: list[str]):
    """Writes the first line of an attempt. Returns the open console.log for the job's stdout and stderr."""
    file = open(folder / FILE, "a", encoding="utf-8")
    file.write(f"{STARTED}{time.strftime('%F %T')}: {shlex.join(command)}\n")
    file.flush()
    return file


def end_attempt(folder: Path, code: int) -> None:
    """Writes the last line of an attempt."""
    with open(folder / FILE, "a", encoding="utf-8") as file:
        file.write(f"\n{ENDED}{code} at {time.strftime('%F %T')}\n")


def last_attempt(folder: Path) -> str:
    """Returns what the last attempt has printed, or "" if there was no attempt."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text[text.rfind(STARTED) :] if STARTED in text else ""


def failure(folder: Path) -> str:
    """Returns why the last attempt failed, in one line. "" if it succeeded, still runs, or was interrupted."""
    lines = [line.strip() for line in last_attempt(folder).splitlines() if line.strip()]
    if not lines or not lines[-1].startswith(ENDED):
        return ""
    code = int(lines[-1].removeprefix(ENDED).split()[0])
    if code in (0, INTERRUPTED):
        return ""
    if any(KILLED.match(line) for line in lines):
        return SIGNALS[-9]  # the other processes of the job end with an error
    errors = [line for line in lines[1:-1] if line.startswith("error: ")]
    if errors:
        return errors[0].removeprefix("error: ")  # later ones may be of processes that end with the first
    if code in SIGNALS:
        return SIGNALS[code]
    return f"{lines[-2]} (exit code {code})" if len(lines) > 2 else f"exit code {code}"


def progress(folder: Path) -> float:
    """Returns the share of the epochs that the last attempt has trained, from 0 to 1."""
    try:
        with open(folder / FILE, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return 0.0
    batches = list(BATCH.finditer(text, max(0, text.rfind(STARTED))))
    return share_trained(batches[-1]) if batches else 0.0


def result(folder: Path, name: str) -> str:
    """Returns the last result of this name that the last attempt has printed, such as "accuracy 61.48%", or ""."""
    line = metric(name)
    matches = [match for match in map(line.match, body(last_attempt(folder).split("\n"))) if match]
    return f"{name.replace('_', ' ')} {matches[-1][1]}%" if matches else ""

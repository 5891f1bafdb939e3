"""Writes and reads console.log: what a job prints, with a first and a last line for each attempt."""

import os
import re
import shlex
import time
from pathlib import Path
from typing import NamedTuple

from trainers.common.runs.log_lines import BATCH, body, metric, share_trained

FILE = "console.log"
STARTED = "== started "
ENDED = "== ended with exit code "
INTERRUPTED = 130  # exit code noted for a job that was stopped together with the sweep
SIGNALS = {-9: "killed (out of memory?)", 137: "killed (out of memory?)", -15: "terminated", 143: "terminated"}
KILLED = re.compile(r"exitcode +: -9\b")  # a process of several, in torchrun's report
TAIL_BYTES = 20_000  # enough for the last progress line; the file grows to megabytes
READ_SECONDS = 0.4  # between two readings of the progress of a job
MEAN = r" {} \S+ \((\S+)\)"  # "loss 0.5355 (0.5742)": of the batch, and the mean of the epoch so far
LOSS, ACCURACY = (re.compile(MEAN.format(name)) for name in ("loss", "acc"))


class Progress(NamedTuple):
    """How far the training of a job is.

    Attributes:
        share: of the epochs that are trained, from 0 to 1.
        epoch, epochs: number of the epoch, from 1, and of all epochs.
        loss: mean of the epoch so far; None if the log does not tell it.
        accuracy: of the training batches of the epoch so far, in percent; None if the log does not tell it.
    """

    share: float
    epoch: int
    epochs: int
    loss: float | None
    accuracy: float | None


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


def progress(folder: Path) -> Progress | None:
    """Returns the progress of the last attempt, from the end of its log; None before its first progress line."""
    try:
        with open(folder / FILE, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - TAIL_BYTES))
            text = file.read().decode(errors="replace")
    except OSError:
        return None
    text = text[max(0, text.rfind(STARTED)) :]
    batches = list(BATCH.finditer(text))
    if not batches:
        return None
    last = batches[-1]
    line = text[last.start() :].partition("\n")[0]
    return Progress(share_trained(last), int(last[1]), int(last[2]), number(LOSS, line), number(ACCURACY, line))


def number(pattern: re.Pattern, line: str) -> float | None:
    """Returns the number that a pattern finds in a line that may not be complete yet."""
    found = pattern.search(line)
    try:
        return float(found[1]) if found else None
    except ValueError:
        return None


class Watch:
    """The progress of a job. Its log is read only if it has grown, and at most every `READ_SECONDS`."""

    def __init__(self, folder: Path):
        self.folder = folder
        self.size = -1
        self.read_at = 0.0
        self.newest = None

    def progress(self) -> Progress | None:
        now = time.monotonic()
        if now - self.read_at >= READ_SECONDS:
            self.read_at = now
            path = self.folder / FILE
            size = path.stat().st_size if path.exists() else 0
            if size != self.size:
                self.size = size
                self.newest = progress(self.folder)
        return self.newest


def result(folder: Path, name: str) -> str:
    """Returns the last result of this name that the last attempt has printed, such as "accuracy 61.48%", or ""."""
    line = metric(name)
    matches = [match for match in map(line.match, body(last_attempt(folder).split("\n"))) if match]
    return f"{name.replace('_', ' ')} {matches[-1][1]}%" if matches else ""

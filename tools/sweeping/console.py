"""What a job of a sweep prints: console.log in its folder, with a line at the start and at the end of each attempt."""

import os
import shlex
import time
from pathlib import Path

from trainers.common.runs.log_lines import ACCURACY, BATCH, share_trained

FILE = "console.log"
STARTED = "== started "
ENDED = "== ended with exit code "
CUT_OFF = 130  # exit code of a job that was ended together with the sweep
SIGNALS = {-9: "killed (out of memory?)", 137: "killed (out of memory?)", -15: "terminated", 143: "terminated"}


def begin(folder: Path, command: list[str]):
    """The opened console.log, to be given to the job as its stdout and stderr."""
    file = open(folder / FILE, "a", encoding="utf-8")
    file.write(f"{STARTED}{time.strftime('%F %T')}: {shlex.join(command)}\n")
    file.flush()
    return file


def end(folder: Path, code: int) -> None:
    with open(folder / FILE, "a", encoding="utf-8") as file:
        file.write(f"\n{ENDED}{code} at {time.strftime('%F %T')}\n")


def last_attempt(folder: Path) -> str:
    """What the last attempt has printed; "" where there was none."""
    try:
        text = (folder / FILE).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
    return text[text.rfind(STARTED) :] if STARTED in text else ""


def failure(folder: Path) -> str:
    """Why the last attempt failed, in one line; "" if it did not, or was cut off together with the sweep."""
    lines = [line.strip() for line in last_attempt(folder).splitlines() if line.strip()]
    if not lines or not lines[-1].startswith(ENDED):
        return ""
    code = int(lines[-1].removeprefix(ENDED).split()[0])
    if code in (0, CUT_OFF):
        return ""
    errors = [line for line in lines[1:-1] if line.startswith("error: ")]
    if errors:
        return errors[-1].removeprefix("error: ")
    if code in SIGNALS:
        return SIGNALS[code]
    return f"{lines[-2]} (exit code {code})" if len(lines) > 2 else f"exit code {code}"


def fraction(folder: Path) -> float:
    """How much of its epochs the last attempt has trained, from 0 to 1."""
    try:
        with open(folder / FILE, "rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - 20_000))  # it grows to megabytes
            text = file.read().decode(errors="replace")
    except OSError:
        return 0.0
    found = list(BATCH.finditer(text, max(0, text.rfind(STARTED))))
    return share_trained(found[-1]) if found else 0.0


def accuracy(folder: Path) -> str:
    """The accuracy that the last attempt has printed last."""
    found = ACCURACY.findall(last_attempt(folder))
    return found[-1] if found else ""

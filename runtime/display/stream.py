"""Streams that take the place of stdout and stderr while a display is shown."""

from __future__ import annotations

import os
import re
import threading
from typing import TYPE_CHECKING

from .parts import is_tqdm_bar

if TYPE_CHECKING:
    from .live import Display

ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # as tqdm moves the cursor for nested bars
# Held while the terminal is written to: a process forked at that moment would wait for ever for Python's lock.
LOCK = threading.RLock()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)


class Stream:
    """Takes the place of stdout or stderr: gives lines to the display, and those that are overwritten as its bar.

    Writes to the replaced stream if this process draws nothing (any more).
    """

    def __init__(self, display: Display, raw, is_shown: bool):
        self._display = display
        self.raw = raw
        self._is_shown = is_shown
        self._text = ""  # of the line that has not ended

    def __getattr__(self, name: str):
        return getattr(self.raw, name)  # isatty, fileno, encoding, ...

    def write(self, text: str) -> int:
        if not self._display.is_live():
            return self.raw.write(text)
        with LOCK:
            *lines, self._text = (self._text + text).replace("\r\n", "\n").split("\n")
            for line in lines:
                self._end(line)
            if "\r" in self._text:
                newest = newest_text(self._text)
                self._text = "\r" + newest + ("\r" if self._text.endswith("\r") else "")
                self._display.bar = ESCAPES.sub("", newest).strip()
        return len(text)

    def _end(self, line: str) -> None:
        newest = newest_text(line)
        if "\r" in line:
            self._display.bar = ""
            newest = ESCAPES.sub("", newest).strip()
            if not newest or is_tqdm_bar(newest):
                return
        self._display.add(newest, self._is_shown or self._display.is_shown(newest))

    def end_line(self) -> None:
        """Prints text that has no line break yet."""
        if self._text.strip():
            self.write("\n")

    def flush(self) -> None:
        self.raw.flush()


def newest_text(line: str) -> str:
    """Returns what a terminal shows of a line: 2/9 for "1/9\\r2/9" and for "1/9\\r2/9\\r"."""
    return line.rstrip("\r").rpartition("\r")[2]

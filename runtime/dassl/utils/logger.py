"""Copies printed output to a log file."""

import contextlib
import os
import sys
import time

from .tools import mkdir_if_missing, write_errors


class Logger:
    """Replaces `sys.stdout`: writes to the console and, with line buffering, to the file `fpath`."""

    def __init__(self, fpath: str | None = None):
        # If stdout is a Logger already, replace it instead of writing through it.
        self.console = sys.stdout.console if isinstance(sys.stdout, Logger) else sys.stdout
        self.file = None
        if fpath is not None:
            mkdir_if_missing(os.path.dirname(fpath))
            with write_errors(fpath):
                self.file = open(fpath, "w", buffering=1, encoding="utf-8")

    def __getattr__(self, name: str):
        if name == "console":  # not set yet
            raise AttributeError(name)
        return getattr(self.console, name)  # isatty, fileno, encoding, ...

    def __enter__(self) -> "Logger":
        return self

    def __exit__(self, *args) -> None:
        self.close()

    def write(self, msg: str) -> int:
        self.console.write(msg)
        if self.file is not None:
            try:
                with write_errors(self.file.name):
                    self.file.write(msg)
            except OSError:
                self.close()  # otherwise Python fails again at exit
                self.console.write("" if msg.endswith("\n") else "\n")  # start the error message on a new line
                raise
        return len(msg)

    def flush(self) -> None:
        self.console.flush()
        if self.file is not None:
            self.file.flush()

    def close(self) -> None:
        """Closes the file; the console stays open."""
        if self.file is not None:
            with contextlib.suppress(OSError):  # the disk is full, which `write` has reported
                self.file.close()
            self.file = None


def setup_logger(output: str | None = None) -> None:
    """Logs to `output` if it ends in .txt or .log, else to `output`/log.txt.

    An existing log is kept; the new one gets the date and time as suffix.
    """
    if output is None:
        return
    fpath = output if output.endswith((".txt", ".log")) else os.path.join(output, "log.txt")
    if os.path.exists(fpath):
        fpath += time.strftime("-%Y-%m-%d-%H-%M-%S")
        while os.path.exists(fpath):  # two starts within a second
            fpath += "-2"
    previous = sys.stdout
    sys.stdout = Logger(fpath)
    if isinstance(previous, Logger):
        previous.close()

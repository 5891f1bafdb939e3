"""Runs a function in a forked process at a pseudo-terminal, and says what is on its screen."""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
import traceback
from typing import NamedTuple

import pyte

TIMEOUT = 60  # seconds


class Shown(NamedTuple):
    """What a program has left on its terminal."""

    code: int  # exit code; negative: number of the signal
    lines: list[str]  # the final screen, and what has scrolled out of it
    frames: list[str]  # the screens after each output, as text
    output: str  # all that was written, with escape codes
    cursor_is_hidden: bool

    @property
    def text(self) -> str:
        return "\n".join(self.lines)


def run(program, columns: int = 80, rows: int = 40, environ=(), when=None) -> Shown:
    """Runs `program()`, which returns an exit code, in a fork of this process whose terminal has this size.

    Args:
        environ: variables that are set in the fork.
        when: called with the screen's text and a `Terminal` after each output, until it returns True.
    """
    pid, master = pty.fork()
    if pid == 0:
        _be(program, columns, rows, {"TERM": "xterm-256color", **dict(environ)})
    terminal = Terminal(pid, master, columns, rows)
    deadline = time.monotonic() + TIMEOUT
    while terminal.read(deadline):
        if when and when(terminal.text(), terminal):
            when = None
    os.close(master)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    assert when is None, f"the awaited text was not shown:\n{terminal.text()}"
    output = terminal.output.decode()
    return Shown(code, terminal.text().split("\n"), terminal.frames, output, terminal.screen.cursor.hidden)


class Terminal:
    """The terminal of a program: what it shows, and what its user does."""

    def __init__(self, pid: int, master: int, columns: int, rows: int):
        self.pid = pid
        self.master = master
        self.screen = pyte.HistoryScreen(columns, rows, history=1000, ratio=1)
        self.stream = pyte.ByteStream(self.screen)
        self.output = b""
        self.frames = []

    def read(self, deadline: float) -> bool:
        """Shows the next output. Returns False at its end."""
        if not select.select([self.master], [], [], max(0, deadline - time.monotonic()))[0]:
            os.kill(self.pid, signal.SIGKILL)
            raise AssertionError(f"no end after {TIMEOUT} s:\n{self.text()}")
        try:
            new = os.read(self.master, 65536)
        except OSError:  # Linux: the program has ended
            new = b""
        self.output += new
        self.stream.feed(new)
        self.frames.append(self.text())
        return bool(new)

    def text(self) -> str:
        columns = range(self.screen.columns)
        scrolled = ["".join(line[column].data for column in columns) for line in self.screen.history.top]
        return "\n".join(line.rstrip() for line in (*scrolled, *self.screen.display)).rstrip()

    def type(self, keys: bytes) -> None:
        os.write(self.master, keys)

    def resize(self, columns: int, rows: int) -> None:
        _set_size(self.master, columns, rows)
        self.screen.resize(rows, columns)


def _set_size(terminal: int, columns: int, rows: int) -> None:
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def _be(program, columns: int, rows: int, environ: dict):
    """Runs the program in place of the tests, whose streams and exit handlers are left out."""
    code = 70
    try:
        _set_size(1, columns, rows)
        for name in ("NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_INTERACTIVE", "TTY_COMPATIBLE"):
            os.environ.pop(name, None)
        os.environ.update(environ)
        sys.stdin = open(0, closefd=False)
        sys.stdout = open(1, "w", buffering=1, encoding="utf-8", closefd=False)
        sys.stderr = open(2, "w", buffering=1, encoding="utf-8", closefd=False)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        code = program()
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)

"""A live display at the bottom of a terminal. Lines that are printed stay above it; progress bars of tqdm are in it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

FRAMES = 8  # per second
NARROW = 60  # columns; in fewer, a bar has a line of its own
ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # as tqdm moves the cursor for nested bars
# "features:  50%|█████     | 3/6 [00:02<00:02, 1.3it/s]", cut off at the width of the terminal
TQDM = re.compile(r"(?:(?P<what>.*?): *)?(?P<percent>\d+)%\|(?:.*\| *(?P<count>\S+) \[[\d:]+<(?P<left>[\d:]*))?")
TQDM_WITHOUT_TOTAL = re.compile(r"\d\S* \[\d+:\d+")  # "12it [00:03, 4.0it/s]"


class Terminal(Console):
    """A console that never hides the cursor: after `kill -9` or Ctrl-Z nothing would show it again."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


def terminal() -> Console | None:
    """Returns the terminal that stdout is; None if it is none, or one that cannot redraw lines (TERM=dumb)."""
    if not sys.stdout.isatty():
        return None
    console = Terminal(file=sys.stdout, highlight=False)
    return console if console.is_interactive and not console.is_dumb_terminal else None


class Display:
    """Draws `content()` below what is printed, as long as its block runs.

    Args:
        console: the terminal.
        content: returns what is drawn; called by a thread, `FRAMES` times per second.
        is_shown: whether a line printed to stdout appears above the display. Others become its `status`. Lines on
            stderr always appear.

    Attributes:
        status: the newest line that is not shown; "" if there is none.
        bar: the newest state of a tqdm bar, as tqdm prints it; "" if there is none.
        keep: True: if the block fails, the last frame stays on the screen.
    """

    def __init__(self, console: Console, content, is_shown=lambda line: True):
        self.console = console
        self.content = content
        self.is_shown = is_shown
        self.status = self.bar = ""
        self.keep = False
        self._process = None  # that draws; None: nothing is drawn
        self._lock = threading.RLock()  # of the printed text
        self._spinner = Spinner("dots" if console.encoding.startswith("utf") else "line")

    def __enter__(self) -> Display:
        self._replaced = {"stdout": sys.stdout}
        if sys.stderr.isatty():
            self._replaced["stderr"] = sys.stderr
        self._streams = {name: _Stream(self, raw, name == "stderr") for name, raw in self._replaced.items()}
        for name, stream in self._streams.items():
            setattr(sys, name, stream)
        self._process = os.getpid()
        self._live = Live(
            console=self.console, get_renderable=self.content, refresh_per_second=FRAMES, redirect_stdout=False,
            redirect_stderr=False,
        )  # fmt: skip
        self._live.start()
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._live.transient = kind is None or not self.keep
        with contextlib.ExitStack() as stack:
            stack.callback(self._restore)
            stack.callback(self._live.stop)
            for stream in self._streams.values():
                stack.callback(stream.end_line)

    def _restore(self) -> None:
        self._process = None
        for name, stream in self._streams.items():
            if getattr(sys, name) is stream:  # otherwise a logger writes to the stream, which is the raw one now
                setattr(sys, name, self._replaced[name])

    def is_live(self) -> bool:
        """Whether this process draws. A process that was forked from it, as those of a data loader, does not."""
        return self._process == os.getpid()

    def add(self, text: str, is_shown: bool) -> None:
        """Prints a line above the display, or makes it the status."""
        if is_shown:
            line = Text.from_ansi(text)
            line.style = "yellow" if text.startswith("WARNING") else ""
            self.console.print(_Unwrapped(line), crop=False)
        elif text.strip():
            self.status = text.strip()

    def activity(self) -> RenderableType:
        """Returns what runs now: the bar of tqdm, or the status with a spinner."""
        if self.bar:
            return self._bar(self.bar)
        line = Table.grid(padding=(0, 1))
        line.add_column()
        line.add_column(no_wrap=True, overflow="ellipsis")
        line.add_row(self._spinner, Text(self.status))
        return line

    def _bar(self, text: str) -> RenderableType:
        found = TQDM.match(text)
        if not found:
            return Text(text, no_wrap=True, overflow="ellipsis")
        left = f"{found['left']} left" if found["left"] else ""
        label = " ".join(filter(None, [found["what"] or self.status, found["count"]]))
        return progress(self.console, label, int(found["percent"]) / 100, left)


def progress(console: Console, label: str, done: float, right: str) -> RenderableType:
    """Returns a bar for the share `done`, from 0 to 1, with a text on both sides; in a narrow terminal, above it."""
    bar = ProgressBar(total=1, completed=min(max(done, 0), 1), width=None)
    line = Table.grid(padding=(0, 1), expand=True)
    line.add_column(no_wrap=True, overflow="ellipsis")
    if console.width < NARROW:
        line.add_column(no_wrap=True, justify="right")
        line.add_row(label, right)
        below = Table.grid(expand=True)  # a bar alone ends without a line break
        below.add_row(bar)
        return Group(line, below)
    line.add_column(ratio=1)
    line.add_column(no_wrap=True)
    line.add_row(label, bar, right)
    return line


class _Unwrapped:
    """A line that the terminal wraps, so that a long path can be copied."""

    def __init__(self, text: Text):
        self.text = text

    def __rich_console__(self, console: Console, options):
        yield from self.text.render(console, end="\n")


class _Stream:
    """Takes the place of stdout or stderr: gives lines to the display, and those that are overwritten as its bar.

    Writes to the replaced stream if this process draws nothing (any more).
    """

    def __init__(self, display: Display, raw, is_shown: bool):
        self._display = display
        self._raw = raw
        self._is_shown = is_shown
        self._text = ""  # of the line that has not ended

    def __getattr__(self, name: str):
        return getattr(self._raw, name)  # isatty, fileno, encoding, ...

    def write(self, text: str) -> int:
        if not self._display.is_live():
            return self._raw.write(text)
        with self._display._lock:
            *lines, self._text = (self._text + text).replace("\r\n", "\n").split("\n")
            for line in lines:
                self._end(line)
            before, overwritten, newest = self._text.rpartition("\r")
            if overwritten:
                self._text = "\r" + newest
                self._display.bar = ESCAPES.sub("", newest).strip()
        return len(text)

    def _end(self, line: str) -> None:
        _, overwritten, newest = line.rpartition("\r")
        if overwritten:
            self._display.bar = ""
            newest = ESCAPES.sub("", newest).strip()
            if not newest or TQDM.match(newest) or TQDM_WITHOUT_TOTAL.search(newest):
                return
        self._display.add(newest, self._is_shown or self._display.is_shown(newest))

    def end_line(self) -> None:
        """Prints text that has no line break yet."""
        if self._text.strip():
            self.write("\n")

    def flush(self) -> None:
        self._raw.flush()

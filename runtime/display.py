"""A live display at the bottom of a terminal. Lines that are printed stay above it; progress bars of tqdm are in it."""

from __future__ import annotations

import contextlib
import os
import re
import sys
import threading
import time

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.spinner import Spinner
from rich.text import Text

FRAMES = 5  # per second
MIN_BAR = 15  # columns; if fewer are left between its texts, a bar has a line of its own
ESCAPES = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]")  # as tqdm moves the cursor for nested bars
# Held while the terminal is written to: a process forked at that moment would wait for ever for Python's lock.
LOCK = threading.RLock()
os.register_at_fork(before=LOCK.acquire, after_in_parent=LOCK.release, after_in_child=LOCK.release)
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
    """Shows `content()` below what is printed, as long as its block runs.

    Args:
        console: the terminal.
        content: returns what is shown; called by a thread, `FRAMES` times per second.
        is_shown: whether a line that is printed to stdout appears above the display. Lines on stderr always do.

    Attributes:
        status: the newest sentence that is not shown; "" if there is none.
        bar: the newest state of a tqdm bar, as tqdm prints it; "" if there is none.
        keep: True: if the block fails, the last frame stays on the screen.
    """

    def __init__(self, console: Console, content, is_shown=lambda line: True):
        self.console = console
        self.content = content
        self.is_shown = is_shown
        self.status = self.bar = ""
        self.keep = False
        self._process = None  # that draws it; None: none does
        self._streams = {}  # that take the place of sys.stdout and sys.stderr
        self._live = Live(self, console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._ended = threading.Event()
        self._spinner = Spinner("dots" if console.encoding.startswith("utf") else "line")

    def __rich__(self) -> RenderableType:
        return self.content()

    def __enter__(self) -> Display:
        try:
            self._start()
        except BaseException:  # Ctrl-C
            self._stop(keep=False)
            raise
        return self

    def __exit__(self, kind, error, trace) -> None:
        self._stop(keep=self.keep and kind is not None)

    def _start(self) -> None:
        self._process = os.getpid()
        for name in ("stdout", "stderr"):
            raw = getattr(sys, name)
            if raw.isatty():
                self._streams[name] = _Stream(self, raw, is_shown=name == "stderr")
                setattr(sys, name, self._streams[name])
        self._live.start(refresh=True)
        self._thread.start()

    def _stop(self, keep: bool) -> None:
        self._live.transient = not keep
        with contextlib.ExitStack() as stack:
            stack.callback(self._restore)
            stack.callback(self._live.stop)
            for stream in self._streams.values():
                stack.callback(stream.end_line)
            self._ended.set()
            if self._thread.ident is not None:  # started
                self._thread.join()

    def _draw(self) -> None:
        with contextlib.suppress(OSError):  # the terminal was closed, which the next line that is printed reports
            while not self._ended.wait(1 / FRAMES):
                with LOCK:
                    self._live.refresh()

    def _restore(self) -> None:
        self._process = None
        for name, stream in self._streams.items():
            if getattr(sys, name) is stream:  # otherwise a logger writes to the stream, which is the raw one now
                setattr(sys, name, stream.raw)

    def is_live(self) -> bool:
        """Whether this process draws. A process that was forked from it, as those of a data loader, does not."""
        return self._process == os.getpid()

    def print(self, content: RenderableType, **options) -> None:
        """Prints above the display, with the options of rich's `Console.print`."""
        with LOCK:
            self.console.print(content, **options)

    def add(self, text: str, is_shown: bool) -> None:
        """Prints a line above the display, or makes it the status."""
        if is_shown:
            line = Text.from_ansi(text)
            line.style = "yellow" if text.startswith("WARNING") else ""
            self.print(_Unwrapped(line), crop=False)
        elif text[:1].isupper():  # no row of a table or list
            self.status = text.strip()

    def activity(self) -> RenderableType:
        """Returns what runs now: the bar of tqdm, or the status with a spinner."""
        if not self.bar:
            frame = self._spinner.render(time.monotonic())
            return Text.assemble(frame, " ", self.status, no_wrap=True, overflow="ellipsis")
        found = TQDM.match(self.bar)
        if not found:
            return Text(self.bar, no_wrap=True, overflow="ellipsis")
        left = f"{found['left']} left" if found["left"] else ""
        label = " ".join(filter(None, [found["what"] or self.status, found["count"]]))
        return Progress(label, int(found["percent"]) / 100, left)


class Progress:
    """A bar for the share `done`, from 0 to 1, between two texts; if the terminal is narrow, below them.

    Rich's tables do the same, but take several milliseconds per frame.
    """

    def __init__(self, label: str, done: float, right: str):
        self.label = label
        self.right = right
        self.bar = ProgressBar(total=1, completed=min(max(done, 0), 1), complete_style="cyan")

    def __rich_console__(self, console: Console, options: ConsoleOptions):
        width = options.max_width
        left = width - cell_len(self.label) - cell_len(self.right) - 2
        if left >= MIN_BAR:
            yield Segment(self.label + " ")
            yield from console.render(self.bar, options.update_width(left))
            yield Segment(" " + self.right + "\n")
            return
        texts = f"{self.label}{' ' * max(left + 2, 1)}{self.right}"
        yield Text(texts, no_wrap=True, overflow="ellipsis")
        yield from console.render(self.bar, options)
        yield Segment.line()


def row(cells: list[Text], width: int) -> Text:
    """Returns the cells side by side, in as many lines of this width as they need. Rich would break lines in cells."""
    line = Text()
    used = 0  # columns of the newest line
    for cell in cells:
        if used:
            fits = used + 2 + cell.cell_len <= width
            line.append("  " if fits else "\n")
            used = used + 2 if fits else 0
        line.append_text(cell)
        used += cell.cell_len
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
        self.raw.flush()

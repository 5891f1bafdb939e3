"""A live display at the bottom of a terminal. Lines that are printed stay above it; progress bars of tqdm are in it."""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time

from rich.console import Console, RenderableType
from rich.control import Control
from rich.live import Live
from rich.segment import ControlType
from rich.spinner import Spinner
from rich.text import Text

from .parts import Unwrapped, tqdm_bar
from .stream import LOCK, Stream

FRAMES = 5  # per second


class Terminal(Console):
    """A console that never hides the cursor: after `kill -9` or Ctrl-Z nothing would show it again."""

    def show_cursor(self, show: bool = True) -> bool:
        return False


class Frames(Live):
    """Leaves the cursor at the beginning of the last line.

    The terminal prints "^C" at the cursor. At the end of a line that fills the terminal, "^C" would begin a new line,
    and the next frame would be one line too low.
    """

    def process_renderables(self, renderables):
        return [*super().process_renderables(renderables), Control(ControlType.CARRIAGE_RETURN)]


def terminal() -> Console | None:
    """Returns the terminal that stdout is; None if it is none, or cannot show a display: TERM=dumb, no UTF-8."""
    if not sys.stdout.isatty():
        return None
    console = Terminal(file=sys.stdout, highlight=False)
    can_redraw = console.is_interactive and not console.is_dumb_terminal
    return console if can_redraw and console.encoding.startswith("utf") else None


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
        self._live = Frames(self, console=console, auto_refresh=False, redirect_stdout=False, redirect_stderr=False)
        self._thread = threading.Thread(target=self._draw, daemon=True)
        self._ended = threading.Event()
        self._spinner = Spinner("dots")

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
                self._streams[name] = Stream(self, raw, is_shown=name == "stderr")
                setattr(sys, name, self._streams[name])
        self._live.start(refresh=True)
        self._thread.start()

    def _stop(self, keep: bool) -> None:
        self._live.transient = not keep
        self._ended.set()
        try:  # no ExitStack, which would hide that the terminal was closed while a signal was handled
            if self._thread.ident is not None:  # it was started
                self._thread.join()
            for stream in self._streams.values():
                stream.end_line()
        finally:
            try:
                self._live.stop()
            finally:
                self._restore()

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
            self.print(Unwrapped(line), crop=False)
        elif text[:1].isupper():  # no row of a table or list
            self.status = text.strip()

    def activity(self) -> RenderableType:
        """Returns what runs now: the bar of tqdm, or the status with a spinner."""
        if self.bar:
            return tqdm_bar(self.bar, self.status)
        frame = self._spinner.render(time.monotonic())
        return Text.assemble(frame, " ", self.status, no_wrap=True, overflow="ellipsis")

"""What a display consists of: bars, rows of values, lines."""

from __future__ import annotations

import re

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderableType
from rich.progress_bar import ProgressBar
from rich.segment import Segment
from rich.text import Text

MIN_BAR = 15  # columns; if fewer are left between its texts, a bar has a line of its own
# "features:  50%|█████     | 3/6 [00:02<00:02, 1.3it/s]", cut off at the width of the terminal
TQDM = re.compile(r"(?:(?P<what>.*?): *)?(?P<percent>\d+)%\|(?:.*\| *(?P<count>\S+) \[[\d:]+<(?P<left>[\d:]*))?")
TQDM_WITHOUT_TOTAL = re.compile(r"\d\S* \[\d+:\d+")  # "12it [00:03, 4.0it/s]"


def is_tqdm_bar(text: str) -> bool:
    return bool(TQDM.match(text) or TQDM_WITHOUT_TOTAL.search(text))


def tqdm_bar(text: str, title: str) -> RenderableType:
    """Returns the bar that tqdm has printed as `text`; one without a description gets the title."""
    found = TQDM.match(text)
    if not found:
        return Text(text, no_wrap=True, overflow="ellipsis")
    left = f"{found['left']} left" if found["left"] else ""
    label = " ".join(filter(None, [found["what"] or title, found["count"]]))
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


class Unwrapped:
    """A line that the terminal wraps, so that a long path can be copied."""

    def __init__(self, text: Text):
        self.text = text

    def __rich_console__(self, console: Console, options):
        yield from self.text.render(console, end="\n")

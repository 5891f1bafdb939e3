"""Draws the state of a sweep for a terminal: the running jobs, the total, and the results so far."""

from dataclasses import dataclass, field

from rich.cells import cell_len, set_cell_size
from rich.console import Group, RenderableType
from rich.progress_bar import ProgressBar
from rich.table import Table as Grid
from rich.text import Text

from .console import Progress
from .cost import clock
from .results import Row
from .results_view import SMALLEST_LABEL, more_line, shorten, table_lines

WIDE = 100  # columns; in fewer, a job has two lines
BAR = 20  # columns of a bar with text in its line


@dataclass(frozen=True)
class RunningJob:
    title: str
    progress: Progress | None  # None before the first progress line of a training
    trains: bool
    seconds_left: float | None


@dataclass(frozen=True)
class Snapshot:
    """What the display shows.

    Attributes:
        done, total: numbers of jobs; done ones are finished or have failed.
        share: done jobs, and the trained part of running ones, from 0 to 1.
        external: number of jobs that run in other processes.
    """

    running: list[RunningJob] = field(default_factory=list)
    done: int = 0
    total: int = 0
    failed: int = 0
    share: float = 0.0
    external: int = 0
    seconds_left: float | None = None
    columns: list[str] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)


def draw(state: Snapshot, width: int, height: int) -> RenderableType:
    """Returns at most `height` lines of at most `width` columns. If not all fits, lines say how many more there are."""
    total = total_lines(state, width)
    room = max(0, height - len(total))
    for_jobs = min(len(state.running) * lines_per_job(width), room // 2)
    table = table_lines(state.columns, state.rows, width, room - for_jobs)
    jobs = job_lines(state, width, room - len(table))
    return Group(*table, *jobs, *total[: max(height, 1)])


def lines_per_job(width: int) -> int:
    return 1 if width >= WIDE else 2


def job_lines(state: Snapshot, width: int, room: int) -> list[RenderableType]:
    """Returns the lines of the running jobs that fit."""
    per_job = lines_per_job(width)
    shown, more = fitting(len(state.running), room, per_job)
    lines = []
    for job in state.running[:shown]:
        values, left = job_values(job), clock(job.seconds_left) if job.seconds_left is not None else ""
        share = job.progress.share if job.progress else 0.0
        if per_job == 1:
            text = f"{values}  {left:>8}"
            label = shorten(job.title, max(SMALLEST_LABEL, width - BAR - cell_len(text) - 2))
            lines.append(line(width, label, share, text))
        else:
            lines.append(ends(width, job.title, left))
            lines.append(line(width, "", share, values))
    return lines + more_line(more, "running jobs", width)


def job_values(job: RunningJob) -> str:
    """Returns e.g. "epoch 43/100  loss 0.574  acc 78.1%"."""
    progress = job.progress
    if progress is None:
        return "starting" if job.trains else "testing"
    if progress.share >= 1:
        return "testing"
    parts = [f"epoch {progress.epoch:>{len(str(progress.epochs))}}/{progress.epochs}"]
    if progress.loss is not None:
        parts.append(f"loss {progress.loss:.3f}")
    if progress.accuracy is not None:
        parts.append(f"acc {progress.accuracy:.1f}%")
    return "  ".join(parts)


def total_lines(state: Snapshot, width: int) -> list[RenderableType]:
    """Returns the line of the whole sweep: a bar, and the numbers of jobs."""
    label = f"{state.done}/{state.total} jobs"
    if state.failed:
        label += f", {state.failed} failed"
    if state.external:
        label += f", {state.external} in other processes"
    left = f"time left {clock(state.seconds_left)}"
    if cell_len(label) + cell_len(left) + BAR // 2 + 2 <= width:
        return [line(width, label, state.share, left, "red" if state.failed else "")]
    return [ends(width, label, ""), line(width, "", state.share, left if width >= 30 else "")]


def fitting(count: int, room: int, lines: int) -> tuple[int, int]:
    """Returns how many items of `lines` lines fit into `room` lines, and how many do not; those need one line."""
    if count * lines <= room:
        return count, 0
    shown = max(0, (room - 1) // lines)
    return shown, count - shown if room > 0 else 0


def line(width: int, label: str, share: float, right: str, style: str = "") -> RenderableType:
    """Returns a line with a text, a bar for `share`, from 0 to 1, and another text."""
    grid = Grid.grid()
    right = shorten(right, max(0, width - cell_len(label) - 4))
    bar = max(1, width - sum(cell_len(text) + 1 for text in (label, right) if text))
    cells = []
    if label:
        cells.append(Text(label + " ", style))
    cells.append(ProgressBar(total=1, completed=min(max(share, 0), 1), width=bar))
    if right:
        cells.append(Text(" " + right))
    for _ in cells:
        grid.add_column(no_wrap=True, overflow="crop")
    grid.add_row(*cells)
    return grid


def ends(width: int, left: str, right: str) -> Text:
    """Returns a line with a text at each end."""
    if not right:
        return Text(shorten(left, width))
    label = set_cell_size(shorten(left, max(0, width - cell_len(right) - 1)), max(0, width - cell_len(right)))
    return Text(shorten(label + right, width))

"""Tables below the table of a protocol: over a varied key, of choices on validation images, of ranks and costs."""

from collections.abc import Callable
from dataclasses import dataclass, field

from .stats import Stat


@dataclass
class Block:
    """Rows under one heading. A cell is a text, a number in percent, a Stat, or None if there is no result."""

    title: str
    rows: list[list]

    def best(self, column: int | None = None) -> float | None:
        """Returns the highest mean of a column, or of all columns; None if fewer than two cells have one."""
        cells = (
            [row[column] for row in self.rows] if column is not None else [cell for row in self.rows for cell in row]
        )
        means = [cell.mean for cell in cells if isinstance(cell, Stat)]
        return max(means) if len(means) > 1 else None


@dataclass
class Curve:
    """A curve of a plot: a number over the values of a key."""

    label: str
    points: list[tuple]  # (value, Stat)
    reference: Stat | None = None  # for comparison: a result without such a key, such as that of zero-shot CLIP


@dataclass
class Panel:
    title: str
    metric: str
    curves: list[Curve]
    average: bool = False


@dataclass
class Detail:
    """A table below the table of a protocol.

    Attributes:
        columns: Headings.
        keys: Number of columns at the beginning that name a row.
        grid: Whether a block is one grid of numbers, with one best number, instead of one per column.
        axis: Name of the horizontal axis of the plot, if there are panels.
        reference: Name of the references of curves.
        name: For files and anchors; unique in a report.
        picture: Draws the plot, if it is not that of the panels; called only if files are written.
        csv_rows: The rows of the CSV file, if they are not those of the blocks.
    """

    title: str
    caption: str
    columns: list[str]
    blocks: list[Block]
    notes: list[str] = field(default_factory=list)
    keys: int = 1
    grid: bool = False
    panels: list[Panel] = field(default_factory=list)
    axis: str = ""
    reference: str = "zero-shot CLIP"
    name: str = ""
    picture: Callable | None = None
    csv_rows: list[dict] = field(default_factory=list)

    def is_best(self, block: Block, column: int, cell) -> bool:
        return isinstance(cell, Stat) and cell.mean == block.best(None if self.grid else column)


def set_names(details_of: list[tuple]) -> None:
    """Sets the names of details, given (table, its details) pairs. Of equal ones, the second ends in -2."""
    used = {}
    for table, details in details_of:
        for detail in details:
            words = "".join(c if c.isalnum() or c in "_." else "-" for c in detail.name)[:60]
            name = f"{table.name}_{words}"
            used[name.lower()] = used.get(name.lower(), 0) + 1
            detail.name = name if used[name.lower()] == 1 else f"{name}-{used[name.lower()]}"

"""Draws the results of a sweep so far, in the space that a terminal has."""

from rich.cells import cell_len, set_cell_size
from rich.text import Text

from tools.records import printable
from tools.reporting.stats import Stat
from tools.reporting.text import number

from .results import Row

SMALLEST_LABEL = 12  # columns


def table_lines(columns: list[str], rows: list[Row], width: int, room: int) -> list[Text]:
    """Returns the lines of the results that fit: from the first row with waiting jobs on, else the last ones."""
    if not rows or room < 4:
        return []
    for used in (1, 2):  # by the heading, and by the line on hidden columns
        shown = window(rows, room - used)
        cells = [[rows[i].method, *(number(rows[i].stats.get(c)) for c in columns), rows[i].seeds] for i in shown]
        if table_width(columns, cells) > width:
            cells = [[rows[i].method, *(mean(rows[i].stats.get(c)) for c in columns), rows[i].seeds] for i in shown]
        fitting, hidden = fitting_columns(columns, cells, width)
        if not hidden:
            break
    table = aligned(fitting, cells, width)
    lines = [Text(table[0], style="bold")]
    dataset = ""
    for text, i in zip(table[1:], shown, strict=True):
        row = rows[i]
        if row.dataset != dataset:
            dataset = row.dataset
            lines.append(Text(shorten(dataset, width), style="bold"))
        lines.append(Text(text, style="" if row.stats else "dim"))
    lines += more_line(hidden, "columns", width)
    return lines + more_line(len(rows) - len(shown), "rows", width)


def window(rows: list[Row], room: int) -> range:
    """Returns the numbers of the rows that fit into `room` lines, with the headings of their datasets."""
    if lines_of(rows, range(len(rows))) <= room:
        return range(len(rows))
    first = last = next((i for i, row in enumerate(rows) if not row.ended), len(rows))
    while last < len(rows) and lines_of(rows, range(first, last + 1)) < room:  # one line says how many more there are
        last += 1
    while first > 0 and lines_of(rows, range(first - 1, last)) < room:
        first -= 1
    return range(first, last)


def lines_of(rows: list[Row], shown: range) -> int:
    """Returns the number of lines of rows: one each, and one per dataset."""
    return len(shown) + len({rows[i].dataset for i in shown})


def mean(stat: Stat | None) -> str:
    return "-" if stat is None else f"{stat.mean:.2f}"


def table_width(columns: list[str], cells: list[list[str]]) -> int:
    """Returns the width of a table whose first column is as narrow as allowed."""
    return SMALLEST_LABEL + sum(2 + size for size in sizes(columns, cells))


def sizes(columns: list[str], cells: list[list[str]]) -> list[int]:
    """Returns the widths of the columns after the first one."""
    headings = [*columns, "seeds"]
    return [max(map(cell_len, texts)) for texts in zip(headings, *(row[1:] for row in cells), strict=True)]


def fitting_columns(columns: list[str], cells: list[list[str]], width: int) -> tuple[list[str], int]:
    """Removes the last columns of results from `cells` until the table fits. Returns the rest, and their number."""
    kept = list(columns)
    while len(kept) > 1 and table_width(kept, cells) > width:
        kept.pop()
        for row in cells:
            row.pop(-2)
    return kept, len(columns) - len(kept)


def aligned(columns: list[str], cells: list[list[str]], width: int) -> list[str]:
    """Returns the lines of a table, the heading first."""
    widths = sizes(columns, cells)
    label = max([SMALLEST_LABEL, *(cell_len(row[0]) + 2 for row in cells)])
    label = max(1, min(label, width - sum(2 + size for size in widths)))
    lines = []
    for name, *texts in [["", *columns, "seeds"], *([f"  {row[0]}", *row[1:]] for row in cells)]:
        parts = [set_cell_size(shorten(name, label), label)]
        parts += [set_cell_size(text, size) for text, size in zip(texts, widths, strict=True)]
        lines.append(set_cell_size("  ".join(parts), width).rstrip())
    return lines


def more_line(more: int, what: str, width: int) -> list[Text]:
    return [Text(shorten(f"... and {more} more {what}", width), style="dim")] if more > 0 else []


def shorten(text: str, width: int) -> str:
    """Returns a text in one line of at most `width` columns: its beginning and its end, which has the seed."""
    text = printable(text)
    if cell_len(text) <= width:
        return text
    if width < 5:
        return set_cell_size(text, max(width, 0)).rstrip()
    tail = text[-((width - 1) // 2) :]
    while cell_len(tail) > (width - 1) // 2:
        tail = tail[1:]
    return set_cell_size(text, width - 1 - cell_len(tail)) + "…" + tail

"""Formats tables and problems for the terminal."""

import shutil
import sys

from runtime.decimals import decimals
from tools.records import printable

from .comparison import Comparison, distinct_notes, unpublished
from .details import Detail
from .problems import Problem, by_category
from .stats import Stat
from .tables import Table

MAX_LISTED = 20  # problems per category that are printed; the files list all


def number(stat: Stat | None, ci95: bool = False) -> str:
    """Returns e.g. "86.35 ± 0.30", or "86.35" for a single seed."""
    if stat is None:
        return "-"
    spread = stat.confidence_half_width if ci95 else stat.std
    mean = decimals(stat.mean, 2)
    return mean if spread is None else f"{mean} ± {spread:.2f}"


def seed_count(cells: dict[str, Stat]) -> str:
    """Returns the number of seeds in a row: "3", or "2-3" if it differs between columns."""
    counts = {stat.n for stat in cells.values()}
    return "-".join(map(str, sorted({min(counts), max(counts)})))


def table_text(table: Table, ci95: bool = False) -> str:
    lines = [["", *table.columns, "seeds", "setting"]]
    for group in table.groups:
        lines.append([group.title])
        for title, cells in group.cells.items():
            row = table.row(title)
            numbers = [number(cells.get(column), ci95) for column in table.columns]
            lines.append([f"  {row.method}", *numbers, seed_count(cells), row.setting(group.datasets)])
    spread = "half-width of the 95 % confidence interval" if ci95 else "std"
    heading = f"{table.key.title}: accuracy in %, mean ± {spread} over seeds"
    return "\n".join([heading, *aligned(lines), *(f"* {note}" for note in table.notes)])


def published_text(comparisons: list[Comparison]) -> list[str]:
    """Returns the lines of the comparison with published numbers, followed by its notes."""
    lines = [["", "", "ours", "seeds", "published", "source", "difference", "", "settings", "also printed"]]
    group = ""
    notes = distinct_notes(comparisons)
    for item in comparisons:
        if item.group != group:
            group = item.group
            lines.append([group])
        mark = {True: "outside interval", False: "", None: "?"}[item.outside]
        metric = f"{item.column}-shot" if item.column.isdigit() else item.column
        printed = f"{item.number.value:.2f}" + "".join(f" [{notes.index(note) + 1}]" for note in item.notes)
        lines.append([
            f"  {item.row.title}", metric, number(item.ours), str(item.ours.n), printed, item.source, item.signed, mark,
            item.recipe, item.others,
        ])  # fmt: skip
    return aligned(lines) + [f"[{index}] {note}" for index, note in enumerate(notes, 1)]


def detail_text(detail: Detail, ci95: bool = False) -> str:
    lines = [["", *detail.columns]]
    for block in detail.blocks:
        lines.append([block.title])
        lines += [["", *(cell_text(cell, ci95) for cell in row)] for row in block.rows]
    return "\n".join([detail.title, *aligned(lines, 1 + detail.keys), *(f"* {note}" for note in detail.notes)])


def cell_text(cell, ci95: bool = False) -> str:
    """Returns a cell of a Detail: a text, a number in percent, or a mean with its spread."""
    if isinstance(cell, str):
        return cell
    return decimals(cell, 2) if isinstance(cell, float) else number(cell, ci95)


def problems_text(problems: list[Problem]) -> str:
    lines = []
    for heading, members in by_category(problems):
        lines.append(f"{heading}:")
        lines += [printable(f"  {problem.subject}: {problem.message}") for problem in members[:MAX_LISTED]]
        if len(members) > MAX_LISTED:
            lines.append(f"  and {len(members) - MAX_LISTED} more")
    return "\n".join(lines)


def aligned(lines: list[list[str]], keys: int = 1) -> list[str]:
    """Pads cells to the width of their column. Lines with a single cell are headings and do not affect the widths.

    At a terminal, columns that do not fit side by side are below each other. The first `keys` columns, which name a
    row, are repeated:

                   Base   New             Base
        Digits                          Digits
          CLIPFit  86.35  70.14   ->      CLIPFit  86.35

                                                   New
                                        Digits
                                          CLIPFit  70.14
    """
    columns = max(map(len, lines))
    widths = [max(len(line[i]) for line in lines if len(line) == columns) for i in range(columns)]
    if not sys.stdout.isatty():
        return padded(lines, widths)
    left = shutil.get_terminal_size().columns - sum(widths[:keys])
    texts = []
    for part in fitting(widths, keys, left):
        chosen = [*range(keys), *part]
        shown = [[line[i] for i in chosen] if len(line) == columns else line for line in lines]
        texts += ["", *padded(shown, [widths[i] for i in chosen])]
    return texts[1:]


def fitting(widths: list[int], first: int, left: int) -> list[list[int]]:
    """Returns the columns from `first` on, in parts whose columns take at most `left` characters, or are one column."""
    parts = [[]]
    used = 0
    for column in range(first, len(widths)):
        used += 2 + widths[column]
        if parts[-1] and used > left - 2 * (first - 1):
            parts.append([])
            used = 2 + widths[column]
        parts[-1].append(column)
    return parts


def padded(lines: list[list[str]], widths: list[int]) -> list[str]:
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines]


def print_report(report, ci95: bool = False) -> None:
    for table, comparisons, details in zip(report.tables, report.comparisons, report.details, strict=True):
        print(table_text(table, ci95))
        for detail in details:
            print(f"\n{detail_text(detail, ci95)}")
        if comparisons:
            heading = f"Comparison with published numbers, {table.key.title}:"
            print("\n".join(["", heading, *published_text(comparisons)]))
        if report.published and (missing := unpublished(table, comparisons)):
            print(f"\nNo published number in configs/published.yaml, {table.key.title}: {', '.join(missing)}")
        print()
    if report.problems:
        print(problems_text(report.problems))

"""Tables for the terminal."""

from .paper import Comparison, distinct_notes
from .problems import Problem, by_kind
from .stats import Stat
from .tables import Table

LISTED = 20  # problems of a kind that are printed; the files have all


def number(stat: Stat | None, ci95: bool = False) -> str:
    """86.35 ± 0.30; without a spread for a single seed."""
    if stat is None:
        return "-"
    spread = stat.confidence_half_width if ci95 else stat.std
    return f"{stat.mean:.2f}" if spread is None else f"{stat.mean:.2f} ± {spread:.2f}"


def seed_count(cells: dict[str, Stat]) -> str:
    """How many seeds a row's numbers have: 3, or 2-3."""
    counts = {stat.n for stat in cells.values()}
    return "-".join(map(str, sorted({min(counts), max(counts)})))


def table_text(table: Table, ci95: bool = False) -> str:
    """A table in lines: a group's title, then its rows."""
    lines = [["", *table.columns, "seeds", "setting"]]
    for group in table.groups:
        lines.append([group.title])
        for title, cells in group.cells.items():
            row = table.row(title)
            numbers = [number(cells.get(column), ci95) for column in table.columns]
            lines.append([f"  {row.method}", *numbers, seed_count(cells), row.setting(group.datasets)])
    spread = "half of the 95 % interval" if ci95 else "std"
    heading = f"{table.key.title}: accuracy in %, mean ± {spread} over seeds"
    return "\n".join([heading, *aligned(lines), *(f"* {note}" for note in table.notes)])


def paper_text(comparisons: list[Comparison]) -> list[str]:
    """Lines of the numbers beside the paper's, and the notes on these."""
    lines = [["", "", "ours", "seeds", "paper", "difference", "", "settings"]]
    group, notes = "", distinct_notes(comparisons)
    for item in comparisons:
        if item.group != group:
            group = item.group
            lines.append([group])
        mark = {True: "beyond seeds", False: "", None: "?"}[item.outside]
        what = f"{item.column}-shot" if item.column.isdigit() else item.column
        lines.append([
            f"  {item.row.title}", what, number(item.ours), str(item.ours.n),
            f"{item.printed:.2f}" + "".join(f" [{notes.index(note) + 1}]" for note in item.notes), item.signed, mark,
            item.recipe,
        ])  # fmt: skip
    return aligned(lines) + [f"[{place}] {note}" for place, note in enumerate(notes, 1)]


def problems_text(problems: list[Problem]) -> str:
    lines = []
    for heading, found in by_kind(problems):
        lines.append(f"{heading}:")
        lines += [f"  {problem.where}: {problem.text}" for problem in found[:LISTED]]
        if len(found) > LISTED:
            lines.append(f"  and {len(found) - LISTED} more")
    return "\n".join(lines)


def aligned(lines: list[list[str]]) -> list[str]:
    """Lines of cells in columns; a line of a single cell is a heading and takes no part in the widths."""
    columns = max(map(len, lines))
    widths = [max(len(line[i]) for line in lines if len(line) == columns) for i in range(columns)]
    return ["  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=False)).rstrip() for line in lines]


def print_report(report, ci95: bool = False) -> None:
    for table, comparisons in zip(report.tables, report.comparisons, strict=True):
        print(table_text(table, ci95))
        if comparisons:
            print("\n".join(["", f"Beside the paper, {table.key.title}:", *paper_text(comparisons)]))
        print()
    if report.problems:
        print(problems_text(report.problems))

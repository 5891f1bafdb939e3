"""Reads the Markdown tables that the benchmarks print, so that tests compare numbers instead of lines."""

from __future__ import annotations

import re


def table_rows(text: str) -> list[list[str]]:
    """Returns the cells of all rows below a ruler; the first cell is the name of the row."""
    rows = []
    in_body = False
    for line in text.splitlines():
        if re.fullmatch(r"\|[ :|-]+\|", line):
            in_body = True
        elif not line.startswith("|"):
            in_body = False
        elif in_body:
            rows.append([cell.strip() for cell in line.strip("|").split("|")])
    return rows


def numbers(row: list[str]) -> list[float]:
    """Returns the numbers of a row without its name: ["ours", "1,000", "", "25.2 *"] gives [1000.0, 25.2]."""
    return [float(cell.rstrip(" *").replace(",", "")) for cell in row[1:] if re.match(r"-?\d", cell)]


def find_row(text: str, *facts: str) -> list[str]:
    """Returns the only row whose first cells are `facts`."""
    (row,) = [row for row in table_rows(text) if row[: len(facts)] == list(facts)]
    return row

"""Results over a varied key: the rows of a table that differ in this key only, as a table and as curves.

A key is varied if a method has three or more values of it in a table, or two if `tools/report.py --vary` names it. The
numbers are those of the table's rows. So an average is over the datasets that its name says, or it is missing.
"""

import json
import re
from collections import defaultdict
from typing import NamedTuple

from tools.shots import shots_text

from .details import Block, Curve, Detail, Panel
from .labels import setting_name, shorten, value_text
from .rows import UNKNOWN, Row, is_chosen
from .tables import Group, Table
from .text import seed_count

ENOUGH = 3  # values that make a key varied
CAPTION = (
    "Runs that differ in {key} only; the numbers are those of the table above. An average is only shown for a value "
    "that all of its datasets have."
)


class Line(NamedTuple):
    """Rows of a method that differ in one key only."""

    label: str
    rows: dict[str, Row]  # value, as JSON text -> row


def varied(table: Table, named: list[str]) -> list[Detail]:
    """Returns the tables over the varied keys of a table.

    Args:
        named: keys for which two values are enough.
    """
    lines_of = defaultdict(list)  # key -> lines of all methods
    details = []
    for rows in by_method(table).values():
        lines = {key: found for key in rows[0].split_keys if (found := lines_over(key, rows, named))}
        if len(lines) == 2 and is_grid(*lines.values()):
            details += grids(table, *lines, rows)
        else:
            for key, found in lines.items():
                lines_of[key] += found
    return [detail for key, found in lines_of.items() for detail in over_key(table, key, found, named)] + details


def by_method(table: Table) -> dict[tuple, list[Row]]:
    """Returns the trained rows by method and origin of the code."""
    rows = defaultdict(list)
    for row in table.rows:
        if not row.zero_shot:
            rows[row.method, row.entries[0].run.origin].append(row)
    return rows


def value_of(row: Row, key: str) -> str:
    return row.runs[0].settings.get(key, UNKNOWN)


def lines_over(key: str, rows: list[Row], named: list[str]) -> list[Line]:
    """Returns the lines of a method over a key; none if the key is not varied."""
    if "." not in key:  # stands for something else, such as the training images
        return []
    lines = defaultdict(dict)
    for row in rows:
        value = value_of(row, key)
        if value != UNKNOWN and not is_chosen(value):
            lines[tuple((other, value_of(row, other)) for other in row.split_keys if other != key)][value] = row
    enough = 2 if key in named else ENOUGH
    found = []
    for others, by_value in lines.items():
        if len(by_value) >= enough:
            label = shorten([setting_name(other, value) for other, value in others if value != '""'])
            title = f"{rows[0].method} ({label})" if label else rows[0].method
            found.append(Line(title, {value: by_value[value] for value in ordered(by_value)}))
    return found


def ordered(values) -> list[str]:
    """Returns values, as JSON text, in the order of the numbers, or in the natural order of texts: a2 before a10."""
    numbers = {value: number(value) for value in values}
    if None not in numbers.values():
        return sorted(numbers, key=numbers.get)
    return sorted(values, key=lambda value: [int(t) if t.isdigit() else t for t in re.split(r"(\d+)", value)])


def number(value: str) -> float | None:
    """Returns the number that a JSON text is, or None."""
    parsed = json.loads(value)
    return parsed if isinstance(parsed, (int, float)) and not isinstance(parsed, bool) else None


def over_key(table: Table, key: str, lines: list[Line], named: list[str]) -> list[Detail]:
    """Returns the table and the plot over one key; none if no dataset has enough values."""
    enough = 2 if key in named else ENOUGH
    groups = [g for g in table.groups if any(len(values_in(g, line)) >= enough for line in lines)]
    if not groups:
        return []
    several = len(lines) > 1
    shown = [c for c in table.columns if any(points(group, line, c) for group in groups for line in lines)]
    blocks = []
    for group in groups:
        block = Block(group.title, [])
        for line in lines:
            for value, row in line.rows.items():
                cells = group.cells.get(row.title, {})
                stats = [cells.get(column) for column in shown]
                first = [line.label, value_text(value)] if several else [value_text(value)]
                block.rows.append([*first, *stats, seed_count(cells) if cells else "-"])
        blocks.append(block)
    left_out = [group.title for group in table.groups if group not in groups]
    notes = [f"Fewer than {enough} values of {key}, so not in this table: {', '.join(left_out)}."] if left_out else []
    name = key.rpartition(".")[2]
    columns = [*(["Method"] if several else []), name, *shown, "Seeds"]
    detail = Detail(f"Varying {key}", CAPTION.format(key=key), columns, blocks, notes, name=f"vary_{name}")
    detail.panels = panels(table, groups, lines)
    detail.axis = key
    return [detail]


def values_in(group: Group, line: Line) -> list[str]:
    """Returns the values that have a result in a group."""
    return [value for value, row in line.rows.items() if group.cells.get(row.title)]


def panels(table: Table, groups: list[Group], lines: list[Line]) -> list[Panel]:
    """Returns the panels of the plot: one per dataset with a curve per column, or, with several lines, per column."""
    if len(lines) == 1:
        return [Panel(g.title, "", curves_of_columns(table, g, lines[0]), g.average) for g in groups]
    found = []
    for group in groups:
        for column in table.columns:
            curves = [Curve(line.label, points(group, line, column)) for line in lines]
            curves = [curve for curve in curves if curve.points]
            if curves:
                zero_shot = reference(table, group, column)
                if zero_shot:
                    curves.append(Curve("zero-shot CLIP", [], zero_shot))
                found.append(Panel(group.title, metric(table, column), curves, group.average))
    return found


def curves_of_columns(table: Table, group: Group, line: Line) -> list[Curve]:
    curves = []
    for column in table.columns:
        if found := points(group, line, column):
            curves.append(Curve(metric(table, column), found, reference(table, group, column)))
    return curves


def metric(table: Table, column: str) -> str:
    return shots_text(column) if table.key.protocol == "fewshot" else column


def points(group: Group, line: Line, column: str) -> list[tuple]:
    cells = [(value, group.cells.get(row.title, {}).get(column)) for value, row in line.rows.items()]
    return [(value, stat) for value, stat in cells if stat]


def reference(table: Table, group: Group, column: str):
    """Returns the number of zero-shot CLIP; None if there is not exactly one such row."""
    rows = [row for row in table.rows if row.zero_shot and row.title in group.cells]
    column = "0" if table.key.protocol == "fewshot" else column
    return group.cells[rows[0].title].get(column) if len(rows) == 1 else None


def is_grid(one: list[Line], other: list[Line]) -> bool:
    """Whether two keys were varied together: more runs than two lines that cross in one run."""
    rows = {id(row) for lines in (one, other) for line in lines for row in line.rows.values()}
    sizes = [len({value for line in lines for value in line.rows}) for lines in (one, other)]
    return len(one) > 1 and len(other) > 1 and len(rows) > sum(sizes) - 1


def grids(table: Table, key: str, other: str, rows: list[Row]) -> list[Detail]:
    """Returns the tables of a method with the values of `key` as rows and those of `other` as columns."""
    others = defaultdict(list)  # values of the further keys -> rows
    for row in rows:
        if not any(value_of(row, k) == UNKNOWN or is_chosen(value_of(row, k)) for k in (key, other)):
            rest = tuple((k, value_of(row, k)) for k in row.split_keys if k not in (key, other))
            others[rest].append(row)
    return [grid(table, key, other, members, rest) for rest, members in others.items()]


def grid(table: Table, key: str, other: str, rows: list[Row], rest: tuple) -> Detail:
    at = {(value_of(row, key), value_of(row, other)): row for row in rows}
    downs, acrosses = (ordered({pair[i] for pair in at}) for i in (0, 1))
    blocks = []
    for group in table.groups:
        for column in table.columns:
            found = {pair: stat for pair, row in at.items() if (stat := group.cells.get(row.title, {}).get(column))}
            if len(found) > 1:
                rows_of_block = [[value_text(d), *(found.get((d, across)) for across in acrosses)] for d in downs]
                blocks.append(Block(f"{group.title}: {metric(table, column)}", rows_of_block))
    names = [key.rpartition(".")[2], other.rpartition(".")[2]]
    label = shorten([setting_name(k, value) for k, value in rest if value != '""'])
    title = f"Varying {key} and {other}: {rows[0].method}" + (f" ({label})" if label else "")
    lines = [
        Line(setting_name(other, across), {d: at[d, across] for d in downs if (d, across) in at}) for across in acrosses
    ]
    columns = [names[0], *(setting_name(other, across) for across in acrosses)]
    caption = CAPTION.format(key=f"{key} and {other}")
    return Detail(
        title, caption, columns, blocks, grid=True, panels=panels(table, table.groups, lines), axis=key,
        name=f"vary_{'_'.join(names)}",
    )  # fmt: skip

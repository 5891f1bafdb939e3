"""Plots of the tables: accuracy over shots, New over Base, accuracy per dataset."""

import io
import math
import re
from html import escape

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tools.recipe import ALL

from .fonts import FAMILY, noting_missing_characters, text_width
from .tables import Group, Table

INK = "#010203"  # text and axes; replaced by the page's text colour in SVG
INKS = {"light": "#1f2328", "dark": "#e6edf3"}  # of SVG files for light and for dark pages
GREY = "#8a8f98"
COLOURS = (
    "#4e79a7", "#f28e2b", "#e15759", "#59a14f", "#b07aa1", "#76b7b2", "#9c755f", "#d4a017", "#ff7f9d", "#7f7f7f",
)  # fmt: skip
MARKERS = "osD^vP*Xph<>"
LINE = 0.19  # height of a line of a legend, in inches
STYLE = {
    "font.family": FAMILY,
    "font.size": 9, "axes.titlesize": 9.5, "axes.labelsize": 9, "legend.fontsize": 9, "axes.spines.top": False,
    "axes.spines.right": False, "text.color": INK, "axes.labelcolor": INK, "axes.edgecolor": INK, "xtick.color": INK,
    "ytick.color": INK, "axes.linewidth": 0.7, "grid.color": GREY, "grid.alpha": 0.3, "grid.linewidth": 0.6,
    "lines.linewidth": 1.5, "lines.markersize": 5, "svg.hashsalt": "report",
    "text.parse_math": False,  # names may contain dollar signs
    "figure.facecolor": "none", "axes.facecolor": "none", "savefig.facecolor": "none",
}  # fmt: skip


def row_styles(tables: list[Table]) -> dict[str, dict]:
    """Returns row title -> colour and marker, the same in all plots of a report. Zero-shot CLIP is grey."""
    titles = list(dict.fromkeys(row.title for table in tables for row in table.rows if not row.zero_shot))
    styles = {
        title: {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
        for i, title in enumerate(titles)
    }
    zero = list(dict.fromkeys(row.title for table in tables for row in table.rows if row.zero_shot))
    return styles | {title: {"color": GREY, "marker": "*x+"[i % 3]} for i, title in enumerate(zero)}


def draw(table: Table, styles: dict[str, dict]) -> Figure | None:
    """Returns the plot of a table, or None if there is nothing to plot."""
    with matplotlib.rc_context(STYLE):
        if table.key.protocol == "base2new":
            has_pairs = any(paired_cells(group) for group in table.groups)
            return panels(table, styles, base_new_panel, 2.9) if has_pairs else None
        if table.key.protocol == "fewshot":
            return panels(table, styles, shots_panel, 2.5) if len(shots_ticks(table)) > 1 else None
        return draw_accuracies(table, styles)


def save(figure: Figure, file_format: str) -> bytes:
    """Returns the figure as svg, png or pdf. Equal figures give equal bytes."""
    with matplotlib.rc_context(STYLE), noting_missing_characters():
        file = io.BytesIO()
        metadata = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(file_format)
        background = "white" if file_format == "png" else "none"
        figure.savefig(file, format=file_format, metadata=metadata, dpi=150, facecolor=background)
    return file.getvalue()


def files(figure: Figure | None, name: str):
    """Yields (path relative to the output folder, content) of a figure as PNG and PDF; nothing without a figure."""
    for file_format in ("png", "pdf") if figure else ():
        yield f"plots/{name}.{file_format}", save(figure, file_format)


def themed_svg(figure: Figure):
    """Yields ("light", SVG) and ("dark", SVG) of a figure, as files for pages with these backgrounds."""
    svg = save(figure, "svg").decode()
    for theme, ink in INKS.items():
        yield theme, svg.replace(INK, ink)


def inline_svg(figure: Figure, name: str, title: str) -> str:
    """Returns the figure as SVG for an HTML page: in the page's text colour, with ids prefixed by `name`."""
    svg = save(figure, "svg").decode()
    svg = svg[svg.index("<svg") :].replace(INK, "currentColor")
    svg = re.sub(r'( id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    return svg.replace("<svg ", f'<svg role="img" aria-label="{escape(title)}" ', 1)


def panels(table: Table, styles: dict, draw_panel, height: float) -> Figure:
    """Returns a figure with one panel per group of a table, averages first, and one legend."""
    columns = min(4, len(table.groups))
    rows = math.ceil(len(table.groups) / columns)
    single = len(table.groups) == 1
    size = (5.6, 3.9) if single else (2.6 * columns + 0.3, height * rows + 0.6)
    figure = Figure(figsize=size, layout="constrained")
    for index, group in enumerate(table.groups):
        ax = figure.add_subplot(rows, columns, index + 1)
        draw_panel(ax, table, group, styles)
        ax.set_title(short(group.title), fontweight="bold" if group.average else "normal")
        ax.grid(True)
        last_in_column = index + columns >= len(table.groups)
        if not last_in_column:
            ax.set_xlabel("")
        if index % columns:
            ax.set_ylabel("")
    legend(figure, table, styles, lines=draw_panel is shots_panel)
    return figure


def legend(figure: Figure, table: Table, styles: dict, lines: bool) -> None:
    """Adds a legend of the rows above a figure.

    Args:
        lines: whether the plot connects its points by lines.
    """
    handles = []
    for row in table.rows:
        style = {}
        if not lines:
            style = {"linestyle": ""}
        elif row.zero_shot:
            style = {"linestyle": "--", "marker": ""}
        handles.append(Line2D([], [], label=row.title, **styles[row.title] | style))
    add_legend(figure, handles)


def add_legend(figure: Figure, handles: list, loc: str = "outside upper center") -> None:
    """Adds a legend with as many columns as there is room for. More than two lines make the figure higher."""
    width, height = figure.get_size_inches()
    longest = max((text_width(handle.get_label()) for handle in handles), default=0)
    columns = max(1, min(len(handles), int(width / (0.6 + longest))))
    lines = math.ceil(len(handles) / columns)
    figure.set_size_inches(width, height + LINE * max(0, lines - 2))
    figure.legend(handles=handles, loc=loc, ncols=columns, frameon=False)


def short(title: str) -> str:
    """Shortens a title for a panel or an axis label: drops text in brackets, then truncates to 30 characters."""
    title = title if len(title) <= 26 else title.partition(" (")[0]
    return title if len(title) <= 30 else f"{title[:29]}…"


def shots_ticks(table: Table) -> dict[str, float]:
    """Returns column -> x position, log2 of the shots. "all", a number of images that is unknown, comes last."""
    ticks = {column: math.log2(int(column)) for column in table.columns if column.isdigit() and column != "0"}
    if ALL in table.columns:
        ticks[ALL] = max(ticks.values(), default=0) + 1
    return ticks


def shots_panel(ax, table: Table, group: Group, styles: dict) -> None:
    """Plots accuracy over shots on a logarithmic axis, with bands of one standard deviation."""
    ticks = shots_ticks(table)
    for title, cells in group.cells.items():
        if "0" in cells:
            ax.axhline(cells["0"].mean, linestyle="--", linewidth=1, color=styles[title]["color"])
        shown = [column for column in ticks if column in cells]
        x = [ticks[column] for column in shown]
        mean = [cells[column].mean for column in shown]
        low = [cells[column].mean - (cells[column].std or 0) for column in shown]
        high = [cells[column].mean + (cells[column].std or 0) for column in shown]
        ax.plot(x, mean, **styles[title])
        ax.fill_between(x, low, high, color=styles[title]["color"], alpha=0.18, linewidth=0)
    ax.set_xticks(list(ticks.values()), list(ticks))
    ax.set_xlabel("training images per class")
    ax.set_ylabel("accuracy (%)")


def paired_cells(group: Group) -> dict:
    """Returns the rows that have both Base and New."""
    return {title: cells for title, cells in group.cells.items() if "H" in cells}


def base_new_panel(ax, table: Table, group: Group, styles: dict) -> None:
    """Plots New over Base with bars of one standard deviation, and lines of equal harmonic mean."""
    for title, cells in paired_cells(group).items():
        base = cells["Base"]
        new = cells["New"]
        ax.errorbar(
            base.mean, new.mean, xerr=base.std, yerr=new.std, linestyle="", elinewidth=1, capsize=2, **styles[title]
        )
    ax.margins(0.18)
    ax.autoscale_view()
    draw_equal_h(ax)
    ax.set_xlabel("Base (%)")
    ax.set_ylabel("New (%)")


def draw_equal_h(ax) -> None:
    """Draws lines of equal H within the limits of the axes."""
    left, right = ax.get_xlim()
    bottom, top = ax.get_ylim()
    left = max(left, 0.1)
    bottom = max(bottom, 0.1)
    right = min(right, 101)
    top = min(top, 101)
    xs = [left + (right - left) * i / 60 for i in range(61)]
    ys = [bottom + (top - bottom) * i / 60 for i in range(61)]
    h = [[2 * x * y / (x + y) for x in xs] for y in ys]
    lines = ax.contour(xs, ys, h, levels=5, colors=GREY, linewidths=0.6, linestyles=":")
    ax.clabel(lines, fmt="H %g", fontsize=7)
    ax.set(xlim=(left, right), ylim=(bottom, top))


def draw_accuracies(table: Table, styles: dict) -> Figure:
    """Plots accuracy per dataset, one line of points each, with bars of one standard deviation."""
    titles = [row.title for row in table.rows]
    figure = Figure(figsize=(7.2, 1.3 + len(table.groups) * max(0.34, 0.1 * len(titles))), layout="constrained")
    ax = figure.add_subplot()
    for position, group in enumerate(table.groups):
        if position % 2 == 0:
            ax.axhspan(position - 0.5, position + 0.5, color=GREY, alpha=0.1, linewidth=0)
        for i, title in enumerate(title for title in titles if title in group.cells):
            stat = group.cells[title]["Accuracy"]
            y = position + 0.8 * ((i + 1) / (len(group.cells) + 1) - 0.5)
            ax.errorbar(stat.mean, y, xerr=stat.std, linestyle="", elinewidth=1, capsize=2, **styles[title])
    ax.set_yticks(range(len(table.groups)), [short(group.title) for group in table.groups])
    for label, group in zip(ax.get_yticklabels(), table.groups, strict=True):
        label.set_fontweight("bold" if group.average else "normal")
    ax.set_ylim(len(table.groups) - 0.5, -0.5)
    ax.grid(True, axis="x")
    ax.set_xlabel("accuracy (%)")
    legend(figure, table, styles, lines=False)
    return figure

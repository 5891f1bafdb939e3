"""Plots of a robustness evaluation: accuracy over severity and over the levels of sweeps, heat maps."""

import math

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tools.reporting.plots import COLOURS, GREY, MARKERS, STYLE, short

from .catalogue import Condition
from .summary import Row

CELL = 0.25  # height of a row of a heat map, in inches


def styles_of(rows: list[Row]) -> dict[str, dict]:
    """Returns label -> style of a line. Zero-shot CLIP is grey and dashed."""
    styles = {}
    for i, row in enumerate(row for row in rows if not row.zero_shot):
        styles[row.label] = {"color": COLOURS[i % len(COLOURS)], "marker": MARKERS[i % len(MARKERS)]}
    for i, row in enumerate(row for row in rows if row.zero_shot):
        styles[row.label] = {"color": GREY, "marker": "*x+"[i % 3], "linestyle": "--"}
    return styles


def draw_line(ax, row: Row, steps: list[tuple[Condition, ...]], style: dict) -> None:
    """Plots the mean accuracy of a row over steps, each the mean over conditions, with a band of one std over seeds."""
    stats = [row.accuracy(*conditions) for conditions in steps]
    x = range(len(steps))
    mean = [stat.mean for stat in stats]
    ax.plot(x, mean, **style)
    spread = [stat.std or 0 for stat in stats]
    ax.fill_between(x, np.subtract(mean, spread), np.add(mean, spread), color=style["color"], alpha=0.18, linewidth=0)


def curves(rows: list[Row], panels: dict[str, dict[str, tuple[Condition, ...]]], xlabel: str) -> Figure:
    """Plots accuracy over the steps of each panel, a line per row.

    Args:
        panels: title -> tick label -> conditions whose mean is plotted there.
    """
    single = len(panels) == 1
    columns = min(4, len(panels))
    lines = math.ceil(len(panels) / columns)
    size = (5.6, 3.7) if single else (2.3 * columns + 0.4, 1.75 * lines + 0.8)
    styles = styles_of(rows)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=size, layout="constrained")
        first = None
        for i, (title, steps) in enumerate(panels.items()):
            ax = figure.add_subplot(lines, columns, i + 1, sharey=first)
            first = first or ax
            for row in rows:
                draw_line(ax, row, list(steps.values()), styles[row.label])
            ax.set_xticks(range(len(steps)), list(steps))
            ax.set_title(title)
            ax.grid(True)
            ax.set_xlabel(xlabel if i + columns >= len(panels) else "")
            ax.set_ylabel("accuracy (%)" if i % columns == 0 else "")
        handles = [Line2D([], [], label=short(row.label), **styles[row.label]) for row in rows]
        figure.legend(handles=handles, loc="outside upper center", ncols=min(len(handles), columns * 2), frameon=False)
    return figure


def heat_maps(values: dict[str, np.ndarray], names: list[str], levels: list[str], differences: bool) -> Figure:
    """Plots a panel per entry of `values`: title -> numbers (corruptions, levels), which are written into the cells.

    Args:
        names: of the corruptions; levels: column titles. NaN is left empty.
        differences: colours from red (negative) over white to blue; else from dark (low) to light (high).
    """
    finite = np.concatenate([array[np.isfinite(array)] for array in values.values()])
    if differences:
        most = max(float(np.abs(finite).max()), 1e-9)
        colours, limits = matplotlib.colormaps["RdBu"], (-most, most)
    else:
        colours, limits = matplotlib.colormaps["viridis"], (float(finite.min()), float(finite.max()) + 1e-9)
    columns = min(3, len(values))
    lines = math.ceil(len(values) / columns)
    width = 1.6 + columns * max(2.0, 0.38 * len(levels) + 0.3)
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width, lines * (CELL * len(names) + 0.75) + 0.2), layout="constrained")
        for i, (title, array) in enumerate(values.items()):
            ax = figure.add_subplot(lines, columns, i + 1)
            ax.pcolormesh(array, cmap=colours, vmin=limits[0], vmax=limits[1])
            write_cells(ax, array, colours, limits, differences)
            ax.set_title(short(title))
            ax.set_xticks(np.arange(len(levels)) + 0.5, levels)
            ax.set_yticks(np.arange(len(names)) + 0.5, names if i % columns == 0 else [""] * len(names))
            ax.set_ylim(len(names), 0)
            ax.tick_params(length=0)
            ax.set_xlabel("severity" if i + columns >= len(values) else "")
            for side in ("left", "bottom"):
                ax.spines[side].set_visible(False)
    return figure


def write_cells(ax, array: np.ndarray, colours, limits, signed: bool) -> None:
    """Writes the numbers of a heat map into its cells, in white on dark colours."""
    for (row, column), value in np.ndenumerate(array):
        if math.isfinite(value):
            red, green, blue, _ = colours((value - limits[0]) / (limits[1] - limits[0]))
            light = 0.299 * red + 0.587 * green + 0.114 * blue > 0.5
            text, colour = (
                f"{round(value):+d}" if signed and round(value) else f"{round(value)}",
                "black" if light else "white",
            )
            ax.text(column + 0.5, row + 0.53, text, ha="center", va="center", fontsize=7, color=colour)


def pretty(name: str) -> str:
    """Returns e.g. "Gaussian noise" for gaussian_noise."""
    return "JPEG compression" if name == "jpeg_compression" else name.replace("_", " ").capitalize()

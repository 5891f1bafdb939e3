"""Plots the numbers of one or several runs: per layer, over the iterations, and embeddings of image features."""

import math

import matplotlib
import numpy as np
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tools.reporting.plots import COLOURS, GREY, MARKERS, STYLE, add_legend

from .change import Row
from .embedding import Embedding

PANEL_WIDTH = 6.6  # inches
MAX_STACKED = 4  # panels above each other; more are in two columns
MAX_NAME = 24  # characters of a layer's name
LAYER_COLOURS = "viridis"


def draw_layers(series: dict[str, list[Row]], ylabel: str, spread: dict[str, dict[str, float]] | None = None) -> Figure:
    """Plots a number per layer in forward order: a panel per group of tensors, a line per entry of `series`.

    Args:
        series: label -> rows, for example of several runs or of several loss terms.
        spread: label -> tensor -> half of the height of a band around the line.
    """
    groups = list(dict.fromkeys(row.group for rows in series.values() for row in rows))
    layers_of = {group: [] for group in groups}
    for row in (row for rows in series.values() for row in rows):
        if row.layer not in layers_of[row.group]:
            layers_of[row.group].append(row.layer)
    rotated = [len(name) for layers in layers_of.values() for name in short_names(layers) if crowded(layers)]
    styles = [line_style(i, len(series)) for i in range(len(series))]
    with matplotlib.rc_context(STYLE):
        figure, axes = panel_grid(len(groups), 1.9 + 0.065 * max(rotated, default=3))
        for ax, (group, layers) in zip(axes, layers_of.items(), strict=True):
            logarithmic = far_apart([[row.value for row in rows if row.group == group] for rows in series.values()])
            for (label, rows), style in zip(series.items(), styles, strict=True):
                shown = [row for row in rows if row.group == group and (row.value or not logarithmic)]
                x, y = [layers.index(row.layer) for row in shown], [row.value for row in shown]
                ax.plot(x, y, **style)
                if spread:
                    half = [spread[label][row.tensor] for row in shown]
                    ax.fill_between(x, np.subtract(y, half), np.add(y, half), color=style["color"], alpha=0.2, lw=0)
            turned = {"rotation": 90, "fontsize": 7.5} if crowded(layers) else {}
            ax.set_xticks(range(len(layers)), short_names(layers), **turned)
            ax.set(title=group, ylabel=ylabel, xlim=(-0.4, len(layers) - 0.6), xlabel="block" * are_blocks(layers))
            scale_values(ax, logarithmic)
        if len(series) > 1:
            handles = [Line2D([], [], label=label, **style) for label, style in zip(series, styles, strict=True)]
            add_legend(figure, handles)
    return figure


def far_apart(lines: list[list[float]]) -> bool:
    """Whether the largest values of several lines differ so much that only a logarithmic axis shows them all."""
    largest = [max(values) for values in lines if any(values)]
    return len(largest) > 1 and max(largest) > 50 * min(largest)


def line_style(i: int, count: int) -> dict:
    """Returns the style of line `i` of `count`. Earlier lines are thicker, so that equal lines are all visible."""
    thickness = min(count - 1 - i, 3)
    return {
        "color": COLOURS[i % len(COLOURS)],
        "marker": MARKERS[i % len(MARKERS)],
        "linewidth": 1.3 + 0.9 * thickness,
        "markersize": 4.5 + 1.3 * thickness,
    }


def scale_values(ax, logarithmic: bool = False) -> None:
    """Sets the y axis: from 0, or logarithmic, on which zeros are not plotted."""
    if logarithmic:
        ax.set_yscale("log")
        ax.yaxis.set_major_formatter(lambda value, _: f"{value:g}")  # the default one writes in TeX, which is off
    else:
        top = ax.dataLim.y1
        ax.set_ylim(0, 1.07 * top if top > 0 else None)  # a margin of the whole height, not of the range of the data
        ax.ticklabel_format(axis="y", scilimits=(-2, 3))
    ax.grid(True)


def panel_grid(count: int, height: float):
    """Returns a figure with `count` axes: above each other, or in two columns if there are many."""
    columns = 1 if count <= MAX_STACKED else 2
    rows = math.ceil(count / columns)
    figure = Figure(figsize=(PANEL_WIDTH * (1 if columns == 1 else 1.5), height * rows + 0.5), layout="constrained")
    return figure, [figure.add_subplot(rows, columns, i + 1) for i in range(count)]


def are_blocks(layers: list[str]) -> bool:
    """Whether the layers are the same part of each block: ["0.mlp.c_proj", "1.mlp.c_proj"]."""
    parts = [layer.partition(".") for layer in layers]
    return all(block.isdigit() and part == parts[0][2] for block, _, part in parts)


def short_names(layers: list[str]) -> list[str]:
    """Returns the names of layers for an axis: of blocks their numbers, of long names the end."""
    if are_blocks(layers):
        return [layer.partition(".")[0] for layer in layers]
    return [layer if len(layer) <= MAX_NAME else f"…{layer[1 - MAX_NAME :]}" for layer in layers]


def crowded(layers: list[str]) -> bool:
    """Whether the names of the layers are too long to be side by side."""
    return max(map(len, short_names(layers))) * len(layers) > 60


def draw_iterations(rows: list[Row], change: np.ndarray, steps_per_epoch: int) -> Figure:
    """Plots the squared change of each layer over the iterations: a panel per group, a line per layer.

    Args:
        rows: a row per tensor, in forward order.
        change: (steps, rows).
    """
    groups = list(dict.fromkeys(row.group for row in rows))
    steps = np.arange(1, len(change) + 1)
    with matplotlib.rc_context(STYLE):
        figure, axes = panel_grid(len(groups), 2.4)
        for ax, group in zip(axes, groups, strict=True):
            columns = [i for i, row in enumerate(rows) if row.group == group]
            layers = [rows[i].layer for i in columns]
            colours = matplotlib.colormaps[LAYER_COLOURS](np.linspace(0, 0.92, len(columns)))
            for colour, column in zip(colours, columns, strict=True):
                ax.plot(steps, change[:, column], color=colour, linewidth=1.1)
            colour_bar(figure, ax, layers, colours)
            ax.set(title=group, xlabel=f"iteration ({steps_per_epoch} per epoch)", ylabel="squared change")
            scale_values(ax)
    return figure


def colour_bar(figure: Figure, ax, layers: list[str], colours) -> None:
    """Adds a bar with the colour of each layer; of many layers, some are named."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    count = len(layers)
    norm = BoundaryNorm(np.arange(count + 1) - 0.5, count)
    mapped = ScalarMappable(norm, ListedColormap(colours))
    named = range(count) if count <= 13 else sorted({round(i) for i in np.linspace(0, count - 1, 9)})
    names = short_names(layers)
    bar = figure.colorbar(mapped, ax=ax, pad=0.02)
    bar.set_ticks(list(named), labels=[names[i] for i in named], fontsize=7.5)
    bar.minorticks_off()
    bar.ax.tick_params(length=2)
    bar.set_label("block" if are_blocks(layers) else "layer")
    bar.outline.set_visible(False)


def draw_embedding(embedding: Embedding, title: str) -> Figure:
    """Plots the images of each class by zero-shot features next to tuned features, with a legend of the classes."""
    with matplotlib.rc_context(STYLE):
        names = [embedding.classnames[label] for label in embedding.classes]
        figure = Figure(figsize=(7.4, 4.0), layout="constrained")
        panels = (("zero-shot CLIP", embedding.zero_shot), (title, embedding.tuned))
        colours = COLOURS if len(names) <= len(COLOURS) else matplotlib.colormaps["tab20"].colors
        for ax, (name, positions) in zip(figure.subplots(1, 2), panels, strict=True):
            for i, label in enumerate(embedding.classes):
                x, y = positions[embedding.labels == label].T
                ax.scatter(x, y, s=9, color=colours[i], linewidths=0, alpha=0.8)
            ax.set_title(name)
            ax.set(xticks=[], yticks=[])
            for side in ("top", "right", "bottom", "left"):
                ax.spines[side].set_visible(True)
                ax.spines[side].set_color(GREY)
        handles = [
            Line2D([], [], linestyle="", marker="o", color=colours[i], label=name) for i, name in enumerate(names)
        ]
        add_legend(figure, handles, "outside lower center")
    return figure

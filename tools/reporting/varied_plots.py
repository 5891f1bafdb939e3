"""Plots of results over a varied key."""

import math

import matplotlib
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from .details import Curve, Detail, Panel
from .labels import value_text
from .plots import COLOURS, GREY, MARKERS, STYLE, add_legend, short
from .varied import number, ordered

LOG_SPREAD = 20  # positive values that differ by more than this factor are on a logarithmic axis
MAX_TICK = 14  # letters of a tick label


class Axis:
    """Positions of the values of a key on the horizontal axis.

    Numbers are on a linear axis, or on a logarithmic one if the positive ones differ by more than a factor of
    LOG_SPREAD and none is negative. 0 is then left of a gap. Other values are next to each other.
    """

    def __init__(self, values: list[str]):
        self.values = ordered(values)
        numbers = [number(value) for value in self.values]
        self.is_number = None not in numbers
        positive = [n for n in numbers if n and n > 0] if self.is_number else []
        self.log = bool(positive) and min(numbers) >= 0 and max(positive) > LOG_SPREAD * min(positive)
        self.zero = self.log and min(numbers) == 0
        if not self.is_number:
            self.at = {value: float(i) for i, value in enumerate(self.values)}
        elif not self.log:
            self.at = dict(zip(self.values, map(float, numbers), strict=True))
        else:
            logs = [math.log2(n) for n in positive]
            gap = max(1.0, (max(logs) - min(logs)) / max(1, len(logs) - 1))
            self.at = {
                value: math.log2(n) if n else min(logs) - gap for value, n in zip(self.values, numbers, strict=True)
            }
            self.broken_at = min(logs) - gap / 2

    def label(self, value: str) -> str:
        text = f"{number(value):g}" if self.is_number else value_text(value)
        return text if len(text) <= MAX_TICK else f"{text[: MAX_TICK - 1]}…"

    def ticks(self) -> list[str]:
        """Returns the values that get a label: on a linear axis, those that are not too close to the one before."""
        if not self.is_number or len(self.values) < 2:
            return self.values
        least = (max(self.at.values()) - min(self.at.values())) / 14
        kept = []
        for value in self.values:
            if not kept or self.at[value] - self.at[kept[-1]] >= least:
                kept.append(value)
        return kept


def draw(detail: Detail) -> Figure | None:
    """Returns the plot of a table over a varied key; None if it has none."""
    if not detail.panels:
        return None
    with matplotlib.rc_context(STYLE):
        metrics = list(dict.fromkeys(panel.metric for panel in detail.panels))
        columns = len(metrics) if len(metrics) > 1 else min(4, len(detail.panels))
        rows = math.ceil(len(detail.panels) / columns)
        single = len(detail.panels) == 1
        figure = Figure(figsize=(5.6, 3.9) if single else (2.6 * columns + 0.3, 2.5 * rows + 0.7), layout="constrained")
        axis = Axis(list({v: None for p in detail.panels for curve in p.curves for v, _ in curve.points}))
        labels = list(dict.fromkeys(curve.label for panel in detail.panels for curve in panel.curves))
        styles = {label: style(i) for i, label in enumerate(labels)}
        for index, panel in enumerate(detail.panels):
            ax = figure.add_subplot(rows, columns, index + 1)
            draw_panel(ax, panel, axis, styles)
            ax.set_xlabel(short_axis(detail.axis) if index + columns >= len(detail.panels) else "")
            ax.set_ylabel("accuracy (%)" if index % columns == 0 else "")
        add_legend(figure, handles(detail.panels, styles, detail.reference))
    return figure


def style(index: int) -> dict:
    return {"color": COLOURS[index % len(COLOURS)], "marker": MARKERS[index % len(MARKERS)]}


def short_axis(key: str) -> str:
    """Returns a key without the first section if it is long: "CLIPFIT.BETA" for TRAINER.CLIPFIT.BETA."""
    return key if len(key) <= 24 else key.partition(".")[2]


def draw_panel(ax, panel: Panel, axis: Axis, styles: dict) -> None:
    """Draws the curves of a panel with bands or bars of one standard deviation. References are dashed lines."""
    for i, curve in enumerate(panel.curves):
        if curve.reference:
            colour = styles[curve.label]["color"] if curve.points else GREY
            ax.axhline(curve.reference.mean, linestyle="--", linewidth=1, color=colour)
        if not curve.points:
            continue
        if axis.is_number:
            draw_curve(ax, curve, axis, styles[curve.label])
        else:
            draw_points(ax, curve, axis, styles[curve.label], 0.12 * (i - (len(panel.curves) - 1) / 2))
    title = f"{short(panel.title)}: {panel.metric}" if panel.metric else short(panel.title)
    ax.set_title(title, fontweight="bold" if panel.average else "normal")
    ax.grid(True)
    ticks = axis.ticks()
    labels = [axis.label(value) for value in ticks]
    crowded = sum(map(len, labels)) > 26
    ax.set_xticks(
        [axis.at[value] for value in ticks], labels, rotation=40 if crowded else 0, ha="right" if crowded else "center"
    )
    if axis.zero:
        ax.axvline(axis.broken_at, linestyle=":", linewidth=1, color=GREY)


def draw_curve(ax, curve: Curve, axis: Axis, look: dict) -> None:
    x = [axis.at[value] for value, _ in curve.points]
    mean = [stat.mean for _, stat in curve.points]
    spread = [stat.std or 0 for _, stat in curve.points]
    at_zero = axis.zero and curve.points and number(curve.points[0][0]) == 0
    for part in (slice(0, 1), slice(1, None)) if at_zero else (slice(0, None),):  # no line across the gap
        ax.plot(x[part], mean[part], **look)
        low = [m - s for m, s in zip(mean[part], spread[part], strict=True)]
        high = [m + s for m, s in zip(mean[part], spread[part], strict=True)]
        ax.fill_between(x[part], low, high, color=look["color"], alpha=0.18, linewidth=0)
    if at_zero and spread[0]:  # a band of one point has no width
        ax.errorbar(x[:1], mean[:1], yerr=spread[:1], color=look["color"], linestyle="", elinewidth=1, capsize=2)


def draw_points(ax, curve: Curve, axis: Axis, look: dict, offset: float) -> None:
    """Draws the numbers of values that are no numbers, without a line between them."""
    for value, stat in curve.points:
        x = axis.at[value] + offset
        ax.errorbar(x, stat.mean, yerr=stat.std, linestyle="", elinewidth=1, capsize=2, **look)


def handles(panels: list[Panel], styles: dict, reference: str) -> list[Line2D]:
    """Returns the entries of the legend."""
    with_points = {curve.label for panel in panels for curve in panel.curves if curve.points}
    lines = [Line2D([], [], label=label, **styles[label]) for label in styles if label in with_points]
    if any(curve.reference for panel in panels for curve in panel.curves):
        lines.append(Line2D([], [], label=reference, color=GREY, linestyle="--"))
    return lines

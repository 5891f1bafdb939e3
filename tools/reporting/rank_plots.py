"""Plots of ranks: the critical-difference diagram, and accuracy over cost."""

import math

import matplotlib
from matplotlib.figure import Figure

from .fonts import text_width
from .plots import COLOURS, GREY, INK, MARKERS, STYLE, add_legend, short
from .rank_tests import cliques
from .ranks import Ranking

LABELS = {"parameters": "tuned parameters", "seconds": "training time per run (s)", "memory": "peak memory (MB)"}
LINE = 0.24  # height of a line of the diagram, in inches
AXIS = 3.4  # width of its axis, in inches
LABELLED = 15  # ranks that the axis has room to label
GAP = 0.2  # between the axis and its labels, and around the diagram


def critical_difference_diagram(ranking: Ranking) -> Figure:
    """Plots the mean ranks on an axis, best on the left; bars join methods within the critical difference."""
    methods, rank = ranking.methods, ranking.mean_rank
    k = len(methods)
    groups = cliques(rank, ranking.critical_difference)
    left, right = methods[: (k + 1) // 2], methods[(k + 1) // 2 :]
    first = 0.6 * len(groups) + 0.9  # height of the first label, in lines below the axis
    below = first + len(left) + 0.5
    with matplotlib.rc_context(STYLE):
        margin = 2 * GAP + max(text_width(label_of(method, rank)) for method in methods)
        figure = Figure(figsize=(AXIS + 2 * margin, LINE * (below + 4)))
        ax = figure.add_axes((0, 0, 1, 1))
        edge = margin / AXIS * (k - 1)
        ax.set(xlim=(1 - edge, k + edge), ylim=(-below, 4))
        draw_axis(ax, k, ranking.critical_difference)
        for index, group in enumerate(groups, 1):
            ranks = [rank[method] for method in group]
            ax.hlines(-0.6 * index, min(ranks) - 0.02 * k, max(ranks) + 0.02 * k, color=INK, linewidth=3)
        gap = GAP / AXIS * (k - 1)
        for names, x, align in ((left, 1 - gap, "right"), (right[::-1], k + gap, "left")):
            for index, method in enumerate(names):
                y = -first - index
                ax.plot([rank[method], rank[method], x], [0, y, y], color=GREY, linewidth=0.8)
                ax.text(x, y, label_of(method, rank, name_first=align == "right"), ha=align, va="center")
        ax.set_axis_off()
    return figure


def label_of(method: str, rank: dict[str, float], name_first: bool = True) -> str:
    words = (short(method), f"{rank[method]:.2f}")
    return f" {'  '.join(words if name_first else words[::-1])} "


def draw_axis(ax, k: int, difference: float) -> None:
    """Draws the axis of ranks 1 to k, and the critical difference above it. With many ranks, it labels only some."""
    ax.hlines(0, 1, k, color=INK, linewidth=0.8)
    step = math.ceil(k / LABELLED)
    for rank in range(1, k + 1):
        ax.vlines(rank, 0, 0.3, color=INK, linewidth=0.8)
        if (rank - 1) % step == 0:
            ax.text(rank, 0.5, str(rank), ha="center", va="bottom")
    ax.hlines(2.2, 1, 1 + min(difference, k - 1), color=INK, linewidth=1.5)
    wider = ", more than the axis has" if difference > k - 1 else ""
    ax.text(1, 2.5, f"critical difference {difference:.2f}{wider}", ha="left", va="bottom")


def cost_plot(ranking: Ranking, fronts: dict[str, list[str]]) -> Figure | None:
    """Plots the average over each cost, with a line through the methods of the front; None if no cost is known."""
    names = [name for name in fronts if len(known_costs(ranking, name)) > 1]
    if not names:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(0.6 + 3.3 * len(names), 3.4), layout="constrained")
        for index, name in enumerate(names):
            ax = figure.add_subplot(1, len(names), index + 1)
            known = known_costs(ranking, name)
            if name != "memory":
                ax.set_xscale("symlog", linthresh=min((value for value in known.values() if value > 0), default=1.0))
                ax.xaxis.set_major_formatter("{x:,g}")
            for number, method in enumerate(ranking.methods):
                if method in known:
                    stat = ranking.averages[method]
                    style = {"color": COLOURS[number % len(COLOURS)], "marker": MARKERS[number % len(MARKERS)]}
                    ax.errorbar(
                        known[method], stat.mean, yerr=stat.std, linestyle="", capsize=2, label=short(method), **style
                    )
            line = sorted((known[method], ranking.averages[method].mean) for method in fronts[name])
            ax.step(*zip(*line, strict=True), where="post", color=GREY, linestyle=":", linewidth=1)
            ax.set_xlabel(LABELS[name])
            ax.set_ylabel("average (%)" if index == 0 else "")
            ax.grid(True)
        handles = {}  # a method whose cost is not known is in some of the plots only
        for ax in figure.axes:
            handles.update({line.get_label(): line for line in ax.get_legend_handles_labels()[0]})
        add_legend(figure, list(handles.values()))
    return figure


def known_costs(ranking: Ranking, name: str) -> dict[str, float]:
    """Returns method -> cost, where it is known."""
    costs = {method: getattr(cost, name) for method, cost in ranking.costs.items()}
    return {method: value for method, value in costs.items() if value is not None}

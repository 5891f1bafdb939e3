"""Reliability diagram: accuracy over confidence of the test images, before and after temperature scaling."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tools.reporting.plots import COLOURS, GREY, STYLE

from .results import Reliability


def draw(diagrams: list[Reliability], title: str) -> Figure:
    """Plots a panel per temperature: the accuracy of each bin of confidence, and below it the share of the images."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.4 * len(diagrams) + 0.2, 4.2), layout="constrained")
        figure.suptitle(title, fontsize=9.5)
        axes = figure.subplots(2, len(diagrams), sharex=True, height_ratios=(3, 1), squeeze=False)
        for (top, bottom), diagram in zip(axes.T, diagrams, strict=True):
            draw_bins(top, bottom, diagram)
        axes[0, 0].set_ylabel("accuracy")
        axes[1, 0].set_ylabel("images")
    return figure


def draw_bins(top, bottom, diagram: Reliability) -> None:
    """Draws the accuracy of the bins in `top`, with the gap to the mean confidence, and their sizes in `bottom`."""
    edges = np.linspace(0, 1, len(diagram.counts) + 1)
    width = edges[1]
    used = diagram.counts > 0
    left, accuracy, confidence = edges[:-1][used], diagram.accuracy[used], diagram.confidence[used]
    bars = {"width": width, "align": "edge", "linewidth": 0}
    top.bar(left, accuracy, color=COLOURS[0], **bars)
    top.bar(left, confidence - accuracy, bottom=accuracy, color=COLOURS[2], alpha=0.35, label="gap", **bars)
    top.plot([0, 1], [0, 1], linestyle="--", linewidth=1, color=GREY)
    name = "before: temperature 1" if diagram.temperature == 1 else f"temperature {diagram.temperature:.3g}"
    top.set(title=f"{name}, ECE {diagram.metrics['ece']:.2f} %", xlim=(0, 1), ylim=(0, 1))
    bottom.bar(left, diagram.counts[used] / diagram.counts.sum(), color=COLOURS[0], **bars)
    bottom.set(xlabel="confidence", ylim=(0, 1))
    for ax in (top, bottom):
        ax.grid(True)
    top.legend(frameon=False, loc="upper left")

"""Reliability diagram: accuracy over confidence of the test images, before and after temperature scaling."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from tools.reporting.plots import COLOURS, GREY, STYLE

from .results import Reliability


def draw(diagrams: list[Reliability], title: str) -> Figure:
    """Plots a panel per temperature: the accuracy of each bin of confidence, and below it the share of the images."""
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(max(4.4, 3.4 * len(diagrams)) + 0.2, 4.4), layout="constrained")
        figure.suptitle(title, fontsize=9.5)
        axes = figure.subplots(2, len(diagrams), sharex=True, height_ratios=(3, 1), squeeze=False)
        for (top, bottom), diagram in zip(axes.T, diagrams, strict=True):
            draw_bins(top, bottom, diagram)
        axes[0, 0].set_ylabel("accuracy")
        axes[1, 0].set_ylabel("share of images")
        figure.legend(*axes[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=2, frameon=False)
    return figure


def draw_bins(top, bottom, diagram: Reliability) -> None:
    """Draws the accuracy of the bins in `top`, with the gap to the mean confidence, and their sizes in `bottom`."""
    edges = np.linspace(0, 1, len(diagram.counts) + 1)
    used = diagram.counts > 0
    left, accuracy, confidence = edges[:-1][used], diagram.accuracy[used], diagram.confidence[used]
    bars = {"width": edges[1], "align": "edge", "linewidth": 0}
    both = np.minimum(accuracy, confidence)
    top.bar(left, both, color=COLOURS[0], **bars)
    for label, gap, colour in (
        ("confidence above accuracy", confidence - accuracy, COLOURS[2]),
        ("accuracy above confidence", accuracy - confidence, COLOURS[5]),
    ):
        top.bar(left, np.maximum(gap, 0), bottom=both, color=colour, alpha=0.6, label=label, **bars)
    top.plot([0, 1], [0, 1], linestyle="--", linewidth=1, color=GREY)
    before = " (before)" if diagram.temperature == 1 else ""
    title = f"temperature {diagram.temperature:.4g}{before}, ECE {diagram.metrics['ece']:.2f} %"
    top.set(title=title, xlim=(0, 1), ylim=(0, 1))
    bottom.bar(left, diagram.counts[used] / diagram.counts.sum(), color=COLOURS[0], **bars)
    bottom.set(xlabel="confidence")
    for ax in (top, bottom):
        ax.grid(True)

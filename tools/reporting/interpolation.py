"""Plots the results of tools/interpolate.py."""

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from .plots import COLOURS, GREY, MARKERS, STYLE, add_legend

MEAN = "mean of --also"  # column with the mean accuracy on the additional datasets
TESTS = ("test", "base")  # columns with the accuracy on the run's own test images


def draw(results: pd.DataFrame, title: str, chosen: float | None):
    """Plots accuracy over alpha, New over Base, and the mean of the additional datasets over the run's test set.

    Args:
        results: columns alpha, val, val_loss, ...; one row per alpha. What is plotted depends on the columns.
        chosen: alpha marked by a vertical line.
    """
    pairs = [("base", "new", "Base", "New"), *((name, MEAN, name.capitalize(), "mean of shifts") for name in TESTS)]
    pairs = [pair for pair in pairs if {*pair[:2]} <= {*results.columns}]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(4.0 + 3.6 * len(pairs), 3.4), layout="constrained")
        axes = figure.subplots(1, 1 + len(pairs), squeeze=False)[0]
        figure.suptitle(title, fontsize=9.5)
        for i, column in enumerate(c for c in results.columns if c not in ("alpha", "val_loss")):
            label = {"val": "validation", "H": "H"}.get(column, column.capitalize())
            axes[0].plot(
                results["alpha"],
                results[column],
                color=COLOURS[i % len(COLOURS)],
                marker=MARKERS[i % len(MARKERS)],
                label=label,
            )
        axes[0].set(xlabel="alpha (0: zero-shot, 1: fine-tuned)", ylabel="accuracy, %")
        add_legend(figure, axes[0].get_legend_handles_labels()[0], "outside lower center")
        for ax, (x, y, *labels) in zip(axes[1:], pairs, strict=True):
            ax.plot(results[x], results[y], color=COLOURS[0], marker="o")
            for _, row in results.iterrows():
                ax.annotate(f"{row['alpha']:g}", (row[x], row[y]), (4, 4), textcoords="offset points")
            ax.set(xlabel=f"{labels[0]}, %", ylabel=f"{labels[1]}, %")
        for ax in axes:
            ax.grid(True)
        if chosen is not None:
            axes[0].axvline(chosen, color=GREY, linestyle=":")
    return figure

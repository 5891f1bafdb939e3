"""Plots the results of tools/interpolate.py."""

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from .plots import COLOURS, GREY, MARKERS, STYLE


def draw(results: pd.DataFrame, title: str, chosen: float | None):
    """Plots accuracy over alpha and, if the results have new classes, New over Base.

    Args:
        results: columns alpha, val, val_loss, ...; one row per alpha.
        chosen: alpha marked by a vertical line.
    """
    with matplotlib.rc_context(STYLE):
        has_new = "new" in results
        figure = Figure(figsize=(7.6 if has_new else 4.0, 3.4), layout="constrained")
        axes = figure.subplots(1, 2 if has_new else 1, squeeze=False)[0]
        figure.suptitle(title, fontsize=9.5)
        for i, column in enumerate(c for c in results.columns if c not in ("alpha", "val_loss")):
            label = {"val": "validation", "H": "H"}.get(column, column.capitalize())
            axes[0].plot(results["alpha"], results[column], color=COLOURS[i], marker=MARKERS[i], label=label)
        axes[0].set(xlabel="alpha (0: zero-shot, 1: fine-tuned)", ylabel="accuracy, %")
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        if has_new:
            axes[1].plot(results["base"], results["new"], color=COLOURS[0], marker="o")
            for _, row in results.iterrows():
                axes[1].annotate(f"{row['alpha']:g}", (row["base"], row["new"]), (4, 4), textcoords="offset points")
            axes[1].set(xlabel="Base, %", ylabel="New, %")
        for ax in axes:
            ax.grid(True)
        if chosen is not None:
            axes[0].axvline(chosen, color=GREY, linestyle=":")
    return figure

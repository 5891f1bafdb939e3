"""Plot of what tools/interpolate.py found."""

import matplotlib
import pandas as pd
from matplotlib.figure import Figure

from .plots import COLOURS, GREY, MARKERS, STYLE


def draw(found: pd.DataFrame, title: str, chosen: float | None):
    """Accuracy over alpha; and where there are new classes, New over Base."""
    with matplotlib.rc_context(STYLE):
        two = "new" in found
        figure = Figure(figsize=(7.6 if two else 4.0, 3.4), layout="constrained")
        axes = figure.subplots(1, 2 if two else 1, squeeze=False)[0]
        figure.suptitle(title, fontsize=9.5)
        for i, column in enumerate(c for c in found.columns if c not in ("alpha", "val_loss")):
            label = {"val": "validation", "H": "H"}.get(column, column.capitalize())
            axes[0].plot(found["alpha"], found[column], color=COLOURS[i], marker=MARKERS[i], label=label)
        axes[0].set(xlabel="alpha (0: zero-shot, 1: tuned)", ylabel="accuracy, %")
        figure.legend(loc="outside lower center", ncols=4, frameon=False)
        if two:
            axes[1].plot(found["base"], found["new"], color=COLOURS[0], marker="o")
            for _, row in found.iterrows():
                axes[1].annotate(f"{row['alpha']:g}", (row["base"], row["new"]), (4, 4), textcoords="offset points")
            axes[1].set(xlabel="Base, %", ylabel="New, %")
        for ax in axes:
            ax.grid(True)
        if chosen is not None:
            axes[0].axvline(chosen, color=GREY, linestyle=":")
    return figure

"""The training curves as a figure."""

import matplotlib
from matplotlib.figure import Figure

from tools.reporting.plots import COLOURS, STYLE

TRAIN, VAL = "train/", "val/"
LOSS, ACCURACY, RATE = f"{TRAIN}loss", f"{TRAIN}acc", f"{TRAIN}lr"


def panels_of(rows: list[dict]) -> dict[str, dict[str, list[tuple[int, float]]]]:
    """Returns title of a panel -> name of a curve -> points (epoch, value). Empty panels are left out."""
    curves = {}
    for row in rows:
        for name, value in row.items():
            if name != "epoch":
                curves.setdefault(name, []).append((row["epoch"], value))
    terms = {name[len(TRAIN) :]: points for name, points in curves.items() if name.startswith(TRAIN)}
    rate, accuracy = terms.pop("lr", None), terms.pop("acc", None)
    losses = {("loss" if name == "loss" else name.removeprefix("loss_")): points for name, points in terms.items()}
    accuracies = {"training batches": accuracy, "validation": curves.get(f"{VAL}accuracy")}
    panels = {
        "Loss": losses,
        "Accuracy (%)": {name: points for name, points in accuracies.items() if points},
        "Learning rate": {"learning rate": rate} if rate else {},
    }
    return {title: lines for title, lines in panels.items() if lines}


def draw_curves(rows: list[dict]) -> Figure | None:
    """Returns the curves of a training, one panel per kind; None if there are none."""
    panels = panels_of(rows)
    if not panels:
        return None
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(3.1 * len(panels), 2.7), layout="constrained")
        for index, (title, lines) in enumerate(panels.items()):
            ax = figure.add_subplot(1, len(panels), index + 1)
            for (name, points), colour in zip(lines.items(), COLOURS * len(lines), strict=False):
                epochs, values = zip(*points, strict=True)
                ax.plot(epochs, values, color=colour, label=name, marker="o" if len(points) == 1 else "")
            ax.set_title(title)
            ax.set_xlabel("epoch")
            ax.grid(True)
            if len(lines) > 1:
                ax.legend(frameon=False)
        return figure

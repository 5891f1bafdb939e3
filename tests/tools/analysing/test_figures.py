"""Plots per layer: nothing is cut off, and all labels are readable text."""

import numpy as np
import pytest

from tools.analysing.change import Row
from tools.analysing.figures import draw_iterations, draw_layers


def rows(*values):
    return [Row("Text FFN output bias", f"{i}.mlp.c_proj", f"t{i}", 4, value) for i, value in enumerate(values)]


@pytest.mark.parametrize("other", [(1.5e-6, 1.6e-6), (4e-3, 5e-3), (0.0, 0.0)])  # near, far apart, nothing changed
def test_all_points_are_inside_and_labels_have_no_markup(other):
    figure = draw_layers({"none": rows(1.4e-6, 1.57e-6), "mse": rows(*other)}, "squared change")
    figure.canvas.draw()
    (ax,) = figure.axes
    low, high = ax.get_ylim()
    assert (low == 0) == (ax.get_yscale() == "linear") == (other[0] < 1e-3)
    for line in ax.lines:
        assert all(low <= y < high * 0.95 for y in line.get_ydata())
    labels = [label.get_text() for label in ax.get_yticklabels()]
    assert labels and not any("$" in label or "\\" in label for label in labels)


def test_iterations_without_a_change():
    figure = draw_iterations(rows(0.0, 0.0), np.zeros((3, 2)), steps_per_epoch=2)
    assert figure.axes[0].get_ylim()[1] > 0

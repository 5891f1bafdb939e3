"""Layout of the plots."""

import matplotlib
import pytest
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from tools.reporting.plots import COLOURS, MARKERS, STYLE, add_legend


@pytest.mark.parametrize("loc", ["outside upper center", "outside lower center"])
@pytest.mark.parametrize("names", [2, 40])
def test_a_legend_of_any_length_covers_nothing(names, loc):
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(5.6, 3.9), layout="constrained")
        ax = figure.add_subplot()
        ax.plot([0, 1], [0, 1])
        height = figure.get_size_inches()[1]
        add_legend(figure, [Line2D([], [], label=f"LayerNormTuning {i}") for i in range(names)], loc)
        figure.draw_without_rendering()
        legend = figure.legends[0].get_window_extent()
        assert figure.bbox.containsx(legend.x0) and figure.bbox.containsx(legend.x1)
        assert not legend.overlaps(ax.get_tightbbox())
        assert ax.get_window_extent().height > 0.6 * height * figure.dpi


def test_sixty_rows_look_different():
    assert len({(COLOURS[i % len(COLOURS)], MARKERS[i % len(MARKERS)]) for i in range(60)}) == 60

"""Bar chart of the averages of a study: a panel per column of its table, a bar per row."""

import matplotlib
from matplotlib.figure import Figure

from tools.reporting.plots import COLOURS, GREY, STYLE
from tools.reporting.stats import Stat

BAR = 0.24  # inches per bar


def draw_bars(averages: dict[str, dict[str, Stat]], columns: list[str], methods: dict[str, str]) -> Figure:
    """Returns the chart.

    Args:
        averages: row -> column -> number. Rows without a number keep their place.
        columns: names of the panels.
        methods: row -> method. Bars of one method have one colour.
    """
    rows = list(averages)
    colours = {method: COLOURS[i % len(COLOURS)] for i, method in enumerate(dict.fromkeys(methods.values()))}
    shown = [column for column in columns if any(column in found for found in averages.values())]
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(2.2 + 2.4 * len(shown), 0.8 + BAR * len(rows)), layout="constrained")
        for index, column in enumerate(shown):
            ax = figure.add_subplot(1, len(shown), index + 1)
            found = {y: averages[row][column] for y, row in enumerate(rows) if column in averages[row]}
            values = [stat.mean for stat in found.values()]
            ax.barh(
                list(found), values, 0.7, color=[colours[methods[rows[y]]] for y in found],
                xerr=[stat.std or 0.0 for stat in found.values()], error_kw={"linewidth": 1},
            )  # fmt: skip
            margin = 0.1 * (max(values) - min(values)) + 1
            ax.set(xlim=(max(0, min(values) - 3 * margin), min(100, max(values) + 3 * margin)), xlabel="accuracy in %")
            for y, stat in found.items():
                ax.annotate(f"{stat.mean:.1f}", (ax.get_xlim()[0], y), (3, 0), textcoords="offset points", va="center",
                            fontsize=7.5, color="white")  # fmt: skip
            ax.set_yticks(range(len(rows)), rows if index == 0 else [""] * len(rows))
            ax.set_ylim(len(rows) - 0.5, -0.5)
            ax.set_title(f"{column} shots" if column.isdigit() else "all images" if column == "all" else column)
            ax.grid(True, axis="x", color=GREY)
            ax.set_axisbelow(True)
    return figure

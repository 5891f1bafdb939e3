"""The table of accuracy and cost that answers which method to take."""

from tools.shots import shots_text

from .details import Block, Detail
from .rank_tests import LEVEL, datasets_needed
from .ranks import Ranking

TAKE = (
    "Means over the trainings of a method on these datasets. Parameters: tuned ones. s: training time per run; ms: per "
    "image seen in training, with loading. MB: peak memory of the GPU, or of the process without one. Front: no other "
    "method has at least this average at a lower cost, or a higher average at the same cost, of parameters, time (s) "
    "or memory."
)
COSTS = {  # attribute of a Cost -> its name, how the lowest is called, and its value as text
    "parameters": ("parameters", "fewest parameters", "{:,.0f}"),
    "seconds": ("time", "shortest training", "{:,.1f} s"),
    "memory": ("memory", "least memory", "{:,.0f} MB"),
}
ONE_SEED = (
    "Fewer than two common seeds: nothing is known about the variation between seeds, so a difference of a point or "
    "two says nothing."
)


def title_of(ranking: Ranking) -> str:
    metric = shots_text(ranking.column) if ranking.column.isdigit() else ranking.column
    return f"{metric}, {len(ranking.datasets)} datasets"


def pictures():
    from . import rank_plots  # importing matplotlib takes a second

    return rank_plots


def take_detail(ranking: Ranking) -> Detail:
    """Returns the table of accuracy and cost that answers which method to take."""
    fronts = {name: front(ranking, name) for name in compared_costs(ranking)}
    rows = []
    for method in sorted(ranking.methods, key=lambda method: -ranking.averages[method].mean):
        cost = ranking.costs[method]
        on = ", ".join(COSTS[name][0] for name, methods in fronts.items() if method in methods)
        rows.append([
            method, ranking.averages[method], f"{ranking.best_on(method)}", number(cost.parameters, ",.0f"),
            number(cost.seconds, ",.1f"), number(cost.ms, ".2f"), number(cost.memory, ",.0f"), on,
        ])  # fmt: skip
    return Detail(
        "Which one should I take?", TAKE, ["Method", "Average", "Best on", "Parameters", "s", "ms", "MB", "Front"],
        [Block(title_of(ranking), rows)], take_notes(ranking, fronts), name=f"take_{ranking.column}",
        picture=lambda: pictures().cost_plot(ranking, fronts),
    )  # fmt: skip


def number(value: float | None, form: str) -> str:
    return "?" if value is None else format(value, form)


def devices(ranking: Ranking) -> list[str]:
    return list(dict.fromkeys(name for cost in ranking.costs.values() for name in cost.devices))


def compared_costs(ranking: Ranking) -> list[str]:
    """Returns the costs by which methods are compared; without time and memory if there are several devices."""
    names = ["parameters"] if len(devices(ranking)) > 1 else list(COSTS)
    return [name for name in names if any(getattr(cost, name) is not None for cost in ranking.costs.values())]


def front(ranking: Ranking, name: str) -> list[str]:
    """Returns the methods that no other one beats: with a higher average or a lower cost, and no worse in the other."""
    points = {
        method: (ranking.averages[method].mean, getattr(cost, name))
        for method, cost in ranking.costs.items()
        if getattr(cost, name) is not None
    }

    def is_beaten(accuracy, cost):
        others = [(a, c) for a, c in points.values() if a >= accuracy and c <= cost]
        return any((a, c) != (accuracy, cost) for a, c in others)

    return [method for method, point in points.items() if not is_beaten(*point)]


def take_notes(ranking: Ranking, fronts: dict[str, list[str]]) -> list[str]:
    """Returns the answer in sentences."""
    top, n = ranking.methods[0], len(ranking.datasets)
    same = [method for method in ranking.methods[1:] if not ranking.distinguished(top, method)]
    best = [method for method in ranking.methods if ranking.mean_rank[method] == ranking.mean_rank[top]]
    notes = [f"Best mean rank: {', '.join(best)} ({ranking.mean_rank[top]:.2f})."]
    if len(best) == 1:
        notes = [f"{notes[0][:-1]}; best on {ranking.best_on(top)} of {n} datasets."]
    subject = "It" if len(best) == 1 else top
    if same:
        few = " With so few datasets, none could be." if n < datasets_needed(len(ranking.pairs)) else ""
        notes.append(f"{subject} cannot be distinguished over datasets from: {', '.join(same)}.{few}")
        notes += cheapest(ranking, [top, *same])
    else:
        notes.append("The test over datasets distinguishes it from all other methods.")
    by_seeds = [m for m in same if (p := ranking.pairs[top, m].over_seeds) is not None and p < LEVEL]
    if by_seeds:
        notes.append(f"On these datasets, seeds alone do not explain its difference to: {', '.join(by_seeds)}.")
    if ranking.too_few_seeds:
        notes.append(ONE_SEED)
    if len(devices(ranking)) > 1:
        notes.append(
            f"The runs are from several devices, so time and memory are not compared: {', '.join(devices(ranking))}."
        )
    notes.append(
        "Which method is best differs between datasets. On data of your own, compare those that cannot be "
        "distinguished on validation images (TEST.SPLIT val)."
    )
    return notes


def cheapest(ranking: Ranking, methods: list[str]) -> list[str]:
    """Returns a note on the cheapest of the methods that cannot be distinguished."""
    parts = []
    for name in compared_costs(ranking):
        known = {m: value for m in methods if (value := getattr(ranking.costs[m], name)) is not None}
        if known:
            _, lowest, form = COSTS[name]
            method = min(known, key=known.get)
            parts.append(f"{lowest}: {method} ({form.format(known[method])})")
    return [f"Of these, {'; '.join(parts)}."] if parts else []

"""The table of ranks, and what the tests over datasets and seeds say about them."""

from runtime.decimals import decimals

from .details import Block, Detail
from .rank_tests import LEVEL, datasets_needed, pairs_of
from .ranks import Pair, Ranking, rankings
from .tables import Table
from .take_details import ONE_SEED, pictures, take_detail, title_of

RANKS = (
    "Methods that have all of the datasets, ranked on each by their mean over seeds, 1 for the best; equal means share "
    "a rank. The other columns compare with the method at the top. Difference: of the averages, in points. Wins, ties, "
    "losses: datasets on which the method is better, equal or worse. p, datasets: Wilcoxon's signed-rank test over the "
    "datasets, which asks whether the difference holds on datasets like these. p, seeds: paired t test over seeds on "
    "the average, which asks whether it holds on these datasets with other seeds. Both are two-sided and corrected "
    "(Holm) for all pairs of methods. By seeds: datasets on which the paired t test over seeds shows that the method "
    "is better or worse, corrected for pairs and datasets. Distinguished: by the test over datasets at 5 %. In the "
    "diagram, methods under one bar differ by less than the critical difference of Nemenyi's test. The method at the "
    "top was chosen by looking at the results, so its own number is somewhat too high."
)
FEW = 10  # datasets, below which the distribution of mean ranks is only roughly known: a rule of thumb


def rank_details(table: Table) -> list[Detail]:
    """Returns the tables of ranks and of costs, for each column that the methods are ranked by."""
    details = []
    for found in rankings(table):
        details += [ranks_detail(found), take_detail(found)]
    return details


def ranks_detail(ranking: Ranking) -> Detail:
    top = ranking.methods[0]
    rows = []
    for method in ranking.methods:
        cells = [method, f"{ranking.mean_rank[method]:.2f}", ranking.averages[method]]
        if method == top:
            rows.append([*cells, *[""] * 6])
            continue
        pair = ranking.pairs[top, method]
        by_seeds = f"{pair.worse_by_seeds} better, {pair.better_by_seeds} worse" if pair.over_seeds is not None else "?"
        rows.append([
            *cells, difference_text(-pair.difference), f"{pair.worse}, {pair.equal}, {pair.better}",
            p_text(pair.over_datasets), p_text(pair.over_seeds), by_seeds,
            "yes" if ranking.distinguished(top, method) else "no",
        ])  # fmt: skip
    columns = ["Mean rank", "Average", "Difference", "Wins, ties, losses", "p, datasets", "p, seeds", "By seeds"]
    return Detail(
        f"Ranks over {len(ranking.datasets)} datasets", RANKS, ["Method", *columns, "Distinguished"],
        [Block(title_of(ranking), rows)], rank_notes(ranking), name=f"ranks_{ranking.column}",
        picture=lambda: pictures().critical_difference_diagram(ranking), csv_rows=pair_rows(ranking),
    )  # fmt: skip


def difference_text(points: float) -> str:
    """Returns e.g. "+1.20"; "0.00" without a sign."""
    text = decimals(points, 2, "+")
    return text if float(text) else text[1:]


def p_text(p: float | None) -> str:
    if p is None:
        return "?"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def rank_notes(ranking: Ranking) -> list[str]:
    """Returns what the tests say about all methods, what they cannot say, and which rows are left out."""
    notes = []
    if ranking.friedman:
        chi, p, f, p_of_f = ranking.friedman
        verdict = "the methods differ" if max(p, p_of_f) < LEVEL else "no difference between the methods is shown"
        notes.append(
            f"Friedman: chi-squared {chi:.2f} with {len(ranking.methods) - 1} degrees of freedom, p {p_text(p)}; Iman "
            f"and Davenport: F {f:.2f}, p {p_text(p_of_f)}; both must be below {LEVEL}: {verdict}."
        )
    n, pairs = len(ranking.datasets), len(ranking.pairs)
    rough = f", a rough value on {n} datasets" if n < FEW else ""
    notes.append(f"Critical difference of mean ranks (Nemenyi, 5 %): {ranking.critical_difference:.2f}{rough}.")
    if n < datasets_needed(pairs):
        of_pairs = "one pair" if pairs == 1 else f"{pairs} pairs"
        notes.append(
            f"{n} datasets are too few: the smallest p of the signed-rank test is {2 ** (1 - n):.2g}, and for "
            f"{of_pairs} it must be below {LEVEL / pairs:.2g}. It takes at least {datasets_needed(pairs)} datasets "
            "to distinguish any two of these methods, or fewer methods (--method), chosen before looking."
        )
    if ranking.too_few_seeds:
        notes.append(ONE_SEED)
    for method, missing in ranking.left_out.items():
        notes.append(f"{method}: not ranked; no number on {', '.join(missing)}.")
    return notes


def pair_rows(ranking: Ranking) -> list[dict]:
    """Returns a row per pair of methods, unrounded, for the CSV file."""
    return [pair_row(ranking, a, b, ranking.pairs[a, b]) for a, b in pairs_of(ranking.methods)]


def pair_row(ranking: Ranking, a: str, b: str, pair: Pair) -> dict:
    return {
        "a": a, "b": b, "mean rank a": ranking.mean_rank[a], "mean rank b": ranking.mean_rank[b],
        "difference": pair.difference, "better": pair.better, "equal": pair.equal, "worse": pair.worse,
        "p datasets": pair.over_datasets, "p seeds": pair.over_seeds, "better by seeds": pair.better_by_seeds,
        "worse by seeds": pair.worse_by_seeds, "datasets": len(ranking.datasets), "seeds": ranking.seeds,
    }  # fmt: skip

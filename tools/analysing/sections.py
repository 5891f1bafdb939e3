"""The sections of an analysis: each a figure, a table, a CSV file and a caption. `ANALYSES` lists them by name.

An analysis that has no meaning for the runs raises ValueError; its message is one sentence that says why.
"""

import re
from dataclasses import dataclass

from runtime.decimals import decimals
from tools.reporting.sections import Section

from . import figures
from .change import as_dicts, change, gradient_terms, gradients, iterations, not_explained, without_initial_value
from .embedding import NAMES, embed, shown_classes
from .features import NEIGHBOURS, Features, build_with_data, features, separation
from .rank import rank, tune_key, tune_value
from .runs import AnalysedRun

SQUARE = "The square of a tensor is the sum of the squares of its elements."
LOGARITHMIC = "An axis is logarithmic if its lines are far apart; it shows no zeros."


@dataclass(frozen=True)
class Options:
    """Options of the analyses; see `tools/analyse.py`."""

    top: int = 6
    root: str = ""
    embedding: str = "tsne"
    perplexity: float = 30
    seed: int = 1
    images: int = 2000
    classes: tuple[str, ...] = ()
    batch_size: int = 100
    workers: int = 2
    backbone: str = ""


def number(value: float) -> str:
    """Returns a number for a table, with three significant digits."""
    return f"{value:.3g}"


def named(name: str, run: AnalysedRun, runs: list[AnalysedRun]) -> str:
    """Returns the name of a section of one run; it ends with the run's label if there are several runs."""
    return name if len(runs) == 1 else f"{name}-{re.sub(r'[^A-Za-z0-9.]+', '-', run.label).strip('-')}"


def titled(title: str, run: AnalysedRun, runs: list[AnalysedRun]) -> str:
    return title if len(runs) == 1 else f"{title}: {run.label}"


def per_layer(runs, rows_of, name: str, title: str, caption: str, ylabel: str) -> Section:
    """Returns the section of a number per tensor (`rows_of(run)`), with a line per run and a table of its sums."""
    series = {run.label: rows_of(run) for run in runs}
    groups = list(dict.fromkeys(row.group for rows in series.values() for row in rows))
    table = []
    for label, rows in series.items():
        sums = [[row.value for row in rows if row.group == group] for group in groups]
        table.append([label, *(number(sum(values)) if values else "-" for values in sums)])
    csv = [line for run in runs for line in as_dicts(series[run.label], run=run.path, label=run.label)]
    figure = figures.draw_layers(series, ylabel)
    return Section(
        name,
        title,
        f"{caption} {SQUARE} {LOGARITHMIC if len(series) > 1 else ''}".strip(),
        figure,
        csv,
        ["Sum over the layers", *groups],
        table,
    )


def change_sections(runs: list[AnalysedRun], options: Options, notes: list[str]) -> list[Section]:
    unknown = [note for note in map(without_initial_value, runs) if note]
    if not any(change(run) for run in runs):
        raise ValueError(unknown[0])
    notes += unknown
    caption = (
        "Squared difference between each tuned tensor and its initial value, which is frozen CLIP's if CLIP has it."
    )
    return [per_layer(runs, change, "change", "Change per layer", caption, "squared change")]


def gradient_sections(runs: list[AnalysedRun], options: Options, notes: list[str]) -> list[Section]:
    caption = "Squared gradient of each tuned tensor, summed over all training steps."
    sections = [per_layer(runs, gradients, "gradients", "Gradients per layer", caption, "sum of squares")]
    for run in runs:
        terms = gradient_terms(run)
        if len(terms) > 1:
            caption = (
                f"Squared gradient of each loss term, with its weight, summed over {len(run.trace.term_steps)} of "
                f"{len(run.trace.change)} steps. The squared norm of the difference between the gradient and the sum "
                f"of the terms' gradients is {not_explained(run):.1e} of the terms' squares. {SQUARE} {LOGARITHMIC}"
            )
            csv = [line for term, rows in terms.items() for line in as_dicts(rows, term=term)]
            figure = figures.draw_layers(terms, "sum of squares")
            title = titled("Gradients by loss term", run, runs)
            sections.append(Section(named("gradient-terms", run, runs), title, caption, figure, csv))
    return sections


def iteration_sections(runs: list[AnalysedRun], options: Options, notes: list[str]) -> list[Section]:
    sections = []
    for run in runs:
        rows, values = iterations(run)
        csv = []
        for step, line in enumerate(values.tolist(), 1):
            csv.append({"iteration": step, **dict(zip([row.tensor for row in rows], line, strict=True))})
        figure = figures.draw_iterations(rows, values, run.trace.steps_per_epoch)
        caption = f"Squared change of each tuned tensor since the start of training, after every iteration. {SQUARE}"
        title = titled("Change over the iterations", run, runs)
        sections.append(Section(named("iterations", run, runs), title, caption, figure, csv))
    return sections


def rank_sections(runs: list[AnalysedRun], options: Options, notes: list[str]) -> list[Section]:
    sections = []
    for run in runs:
        ranking = rank(run)
        if not ranking:
            notes.append(
                f"{run.path}: {run.method} tunes no parameter set of CLIP here, so there are no layers to rank"
            )
            continue
        layers = [(place, layer) for found in ranking.values() for place, layer in enumerate(found, 1)]
        csv = [{**vars(layer), "rank": place} for place, layer in layers]
        shown = [layer for layer in layers if layer[0] <= options.top]
        table = [
            [f"{layer.set}:{layer.number}", str(place), layer.layer, number(layer.change)] for place, layer in shown
        ]
        key = tune_key(run)
        commands = [f'{key} "{tune_value(run, name, options.top)}"' for name in ranking]
        caption = (
            f"The {options.top} most changed layers of each parameter set. The change of a layer is the sum over its "
            f"tensors of the squared change. Below, values of {key} that tune these layers only, one per set."
        )
        columns = ["Layer", "Rank", "Name", "Squared change"]
        title = titled("Most changed layers", run, runs)
        sections.append(Section(named("ranking", run, runs), title, caption, None, csv, columns, table, commands))
    if not sections:
        raise ValueError(notes.pop())
    return sections


def embedding_sections(runs: list[AnalysedRun], options: Options, notes: list[str]) -> list[Section]:
    sections = []
    for run in runs:
        trainer = build_with_data(run, options.root, options.batch_size, options.workers, options.backbone)
        classes = shown_classes(list(trainer.dm.dataset.classnames), list(options.classes))
        found = features(trainer, options.images, options.seed)
        if not found.differ:
            notes.append(
                f"{run.path}: {run.method} changes no image feature, so an embedding shows the same picture before and "
                "after fine-tuning"
            )
            continue
        sections.append(embedding_section(run, runs, found, classes, options))
    if not sections:
        raise ValueError(notes.pop())
    return sections


def embedding_section(run, runs, found: Features, classes: list[int], options: Options) -> Section:
    result = embed(found, classes, options.perplexity, options.embedding, options.seed)
    table, csv = [], []
    for label, vectors, positions in (
        ("zero-shot CLIP", found.zero_shot, result.zero_shot),
        (run.label, found.tuned, result.tuned),
    ):
        numbers = separation(vectors, found.labels)
        table.append([label, decimals(numbers["silhouette"], 4), f"{numbers['neighbours']:.2f}"])
        for path, (x, y), i in zip(result.paths, positions.tolist(), result.labels.tolist(), strict=True):
            csv.append({"features": label, "image": path, "class": result.classnames[i], "x": x, "y": y, **numbers})
    n_all, n_shown = len(found.classnames), len(classes)
    which = "all classes" if n_shown == n_all else f"{n_shown} of {n_all} classes"
    sampled = "" if len(found.labels) == found.total else f", a random sample of the {found.total:,}"
    caption = (
        f"{result.method} of the normalised image features of {len(result.labels):,} test images of {which}; "
        f"perplexity {options.perplexity:g}, seed {options.seed}. Distances between clusters in the picture have no "
        f"meaning. The numbers do not depend on the picture: they are over {len(found.labels):,} test images of all "
        f"classes{sampled}. Silhouette: -1 to 1, with the cosine distance. Accuracy: of predicting each image by the "
        f"majority of the {NEIGHBOURS} other images with the nearest features."
    )
    columns = ["Features", "Silhouette", f"{NEIGHBOURS}-nearest-neighbour accuracy (%)"]
    title = titled(f"{NAMES[options.embedding]} of the image features", run, runs)
    figure = figures.draw_embedding(result, run.label)
    return Section(named(options.embedding, run, runs), title, caption, figure, csv, columns, table)


ANALYSES = {
    "change": change_sections,
    "rank": rank_sections,
    "gradients": gradient_sections,
    "iterations": iteration_sections,
    "tsne": embedding_sections,
}

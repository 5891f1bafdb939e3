"""The result of a model, and the files of an evaluation: retrieval.json, retrieval.csv and retrieval.md."""

import csv
import io
import json
import os
from dataclasses import dataclass
from pathlib import Path

from datasets.retrieval import Captions
from runtime.decimals import decimals
from tools.records import printable
from tools.reporting.text import aligned
from trainers.common.inference import retrieval
from trainers.common.models import zero_shot_reference
from trainers.common.runs.files import write_atomically
from trainers.common.runs.provenance import git_revision, now

from .features import image_features, text_features
from .models import ZERO_SHOT, Model

RECALLS = [retrieval.recall_name(direction, k) for direction in retrieval.DIRECTIONS for k in retrieval.DEPTHS]
WITH_INTERVAL = (*RECALLS, "mean_recall")
MEDIANS = [f"{direction}_median_rank" for direction in retrieval.DIRECTIONS]
COLUMNS = (*RECALLS, *MEDIANS, "mean_recall", "rsum")
TITLES = ("", *(f"{d} R@{k}" for d in ("image", "text") for k in retrieval.DEPTHS), "median", "mean R")
CAPTIONS = 5  # per image, of the published results: recalls with fewer captions are others
TEST_IMAGES = {"flickr30k": ("Flickr30k", 1000), "coco": ("COCO", 5000)}  # part of the file name -> published results


@dataclass(frozen=True)
class Result:
    """The result of a model.

    Attributes:
        metrics: see `retrieval.metrics`.
        intervals: 95 % confidence interval of each metric in WITH_INTERVAL.
        draws: these metrics on bootstrap samples of the images, the same samples for every model.
        n_cut: number of captions that were too long for the model and were cut off.
        context_tokens: number of tokens that the model adds to each caption.
    """

    label: str
    method: str
    backbone: str
    precision: str
    metrics: dict
    intervals: dict
    draws: dict
    n_cut: int
    context_tokens: int

    def change(self, other: "Result") -> dict:
        """Returns {metric: (difference from another model, its 95 % confidence interval)}, of WITH_INTERVAL."""
        return {
            name: (self.metrics[name] - other.metrics[name], retrieval.interval(self.draws[name] - other.draws[name]))
            for name in WITH_INTERVAL
        }


def evaluate(model: Model, captions: Captions) -> Result:
    """Returns the result of a model on images and their captions."""
    images = image_features(model, captions)
    texts, n_cut = text_features(model, captions)
    device = model.trainer.device
    ranks = retrieval.rank_both(images.to(device), texts.to(device), captions.image_index)
    draws = retrieval.resampled(ranks, captions.image_index, len(captions.images))
    intervals = {name: retrieval.interval(draws[name]) for name in WITH_INTERVAL}
    about = (model.label, model.method, model.backbone, model.trainer.precision)
    return Result(*about, retrieval.metrics(ranks), intervals, draws, n_cut, model.trainer.context_tokens)


def published(backbone: str, source: str, split: str, captions: Captions) -> tuple[str, dict]:
    """Returns the dataset and the published recalls of zero-shot CLIP on it; ("", {}) if there are none.

    The dataset is recognised by the name of the file with the captions and by the number of images. Results with fewer
    than its five captions per image (--captions) are not comparable.
    """
    if len(captions.captions) < CAPTIONS * len(captions.images):
        return "", {}
    for part, (dataset, n_images) in TEST_IMAGES.items():
        if part in os.path.basename(source).lower() and split == "test" and len(captions.images) == n_images:
            found = zero_shot_reference.retrieval(backbone, dataset)
            names = [retrieval.recall_name(direction, k) for direction in found for k in retrieval.DEPTHS]
            return dataset, dict(zip(names, [value for own in found.values() for value in own], strict=True))
    return "", {}


def table(results: list[tuple[Result, Result]], recalls: dict) -> list[list[str]]:
    """Returns the rows of the table, the first one with the titles.

    Args:
        results: each result, and that of zero-shot CLIP with its backbone.
        recalls: published recalls by backbone.
    """
    rows = [list(TITLES)]
    shown = set()
    for result, _ in results:
        values = [f"{result.metrics[name]:.2f}" for name in RECALLS]
        medians = " / ".join(f"{result.metrics[name]:g}" for name in MEDIANS)
        rows.append([name_of(result), *values, medians, with_interval(result)])
        if recalls.get(result.backbone) and result.backbone not in shown:
            shown.add(result.backbone)
            rows.append(
                ["  published (open_clip)", *(f"{recalls[result.backbone][name]:.2f}" for name in RECALLS), "", ""]
            )
    for result, reference in results:
        if result is not reference:
            changes = result.change(reference)
            values = [decimals(changes[name][0], 2, "+") for name in RECALLS]
            value, interval = changes["mean_recall"]
            value, low, high = (decimals(number, 2, "+") for number in (value, *interval))
            rows.append([f"{name_of(result)} - zero-shot", *values, "", f"{value} [{low}, {high}]"])
    return rows


def name_of(result: Result) -> str:
    return printable(f"{ZERO_SHOT} {result.backbone}" if result.label == ZERO_SHOT else result.label)


def with_interval(result: Result) -> str:
    low, high = result.intervals["mean_recall"]
    return f"{result.metrics['mean_recall']:.2f} [{low:.2f}, {high:.2f}]"


def text(rows: list[list[str]]) -> str:
    return "\n".join(aligned(rows))


def markdown(heading: str, rows: list[list[str]], notes: list[str]) -> str:
    """Returns the table as Markdown."""
    lines = ["| " + " | ".join(cell.strip().replace("|", "\\|") for cell in row) + " |" for row in rows]
    lines.insert(1, "|" + " --- |" * len(rows[0]))
    return "\n".join([f"# {heading}", "", *lines, "", *(f"- {note}" for note in notes)]) + "\n"


def spreadsheet(results: list[tuple[Result, Result]]) -> str:
    """Returns the unrounded numbers as CSV, a row per model."""
    ends = [f"{name}_{end}" for name in WITH_INTERVAL for end in ("low", "high")]
    rows = [("model", "method", "backbone", "precision", "cut_captions", *COLUMNS, *ends)]
    for result, _ in results:
        values = [result.metrics[name] for name in COLUMNS]
        values += [value for name in WITH_INTERVAL for value in result.intervals[name]]
        rows.append((printable(result.label), result.method, result.backbone, result.precision, result.n_cut, *values))
    file = io.StringIO()
    csv.writer(file, lineterminator="\n").writerows(rows)
    return file.getvalue()


def record(data: dict, results: list[tuple[Result, Result]], recalls: dict) -> dict:
    """Returns the content of retrieval.json."""
    models = []
    for result, reference in results:
        models.append({
            "model": result.label, "method": result.method, "backbone": result.backbone, "precision": result.precision,
            "cut_captions": result.n_cut, "context_tokens": result.context_tokens, "metrics": result.metrics,
            "interval_95": result.intervals,
        })  # fmt: skip
        if result is not reference:
            models[-1]["change_from_zero_shot"] = {
                name: {"difference": value, "interval_95": ends}
                for name, (value, ends) in result.change(reference).items()
            }
    return {"data": data, "models": models, "published": recalls, "git": git_revision(), "written": now()}


def write(folder: str, data: dict, results: list, recalls: dict, page: str) -> None:
    """Writes the three files."""
    contents = {
        "retrieval.csv": spreadsheet(results),
        "retrieval.md": page,
        "retrieval.json": json.dumps(record(data, results, recalls), indent=1) + "\n",
    }
    for name, content in contents.items():
        write_atomically(str(Path(folder) / name), content)

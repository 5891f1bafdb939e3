"""Sorts runs into the protocols of the CLIP literature, by what they were trained and tested on.

base2new        trained on the base classes of a dataset, tested on its base classes and on its new classes
fewshot         trained on all classes, tested on the same classes
cross_dataset   trained on all classes of one dataset (ImageNet), tested on other datasets
domain_shift    trained on ImageNet, tested on other images of its classes (ImageNetV2, -Sketch, -A, -R)

Zero-shot CLIP is not trained. It is in every table with its backbone and dataset.
"""

import hashlib
from dataclasses import dataclass

from datasets import catalogue
from tools.shots import shots_name, shots_text

from .image_sets import divide
from .match_runs import model_key
from .rows import fingerprint
from .run import Run

TITLES = {
    "base2new": "Base to new",
    "fewshot": "Few-shot",
    "cross_dataset": "Cross-dataset",
    "domain_shift": "Distribution shift",
}
MAX_NAME = 160  # file systems allow 255 bytes, with endings


@dataclass(frozen=True)
class Key:
    """Identifies a table."""

    protocol: str
    backbone: str
    source: str = ""  # dataset trained on, if other datasets are tested
    shots: int | None = None  # None in the few-shot table, which has one column per number of shots

    @property
    def title(self) -> str:
        parts = [TITLES[self.protocol]]
        if self.source:
            parts.append(f"trained on {self.source}")
        if self.protocol != "fewshot":
            parts.append(shots_text(shots_column(self.shots)))
        return ", ".join([*parts, self.backbone])

    @property
    def name(self) -> str:
        """Name for files and anchors, of at most MAX_NAME bytes."""
        shots = "" if self.protocol == "fewshot" else f"{self.shots}shots"
        name = "_".join(filter(None, (self.protocol, self.source, shots, self.backbone)))
        safe = "".join(c if c.isalnum() or c in "-_." else "-" for c in name)
        if len(safe.encode()) <= MAX_NAME:
            return safe
        return f"{safe[: MAX_NAME // 4]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


@dataclass(frozen=True)
class Entry:
    """A run in a table."""

    dataset: str  # tested on; names its images if the dataset was tested with different ones
    column: str  # Base, New, Accuracy, or the number of shots
    run: Run
    name: str = ""  # the dataset without its images


def sort_into_tables(runs: list[Run]) -> tuple[dict[Key, list[Entry]], list[Run]]:
    """Returns the entries of each table, and the runs that belong to no protocol. Skips unfinished runs."""
    tables = {}
    no_protocol = []
    finished = [run for run in runs if run.finished]
    for run in finished:
        table = None if run.zero_shot else table_and_column(run)
        if table:
            key, column = table
            tables.setdefault(key, []).append(Entry(run.dataset, column, run))
        elif not run.zero_shot or run.split != "test":
            no_protocol.append(run)
    sources = []
    for key, entries in tables.items():
        if key.source:
            table_sources = sources_of(key, entries, finished)
            sources += table_sources
            entries += [Entry(key.source, "Accuracy", run) for run in table_sources]
    for key in [key for key in tables if key.protocol == "fewshot"]:
        tables[key] = without_sources(tables[key], sources)
        if not tables[key]:
            del tables[key]
    for run in finished:
        if run.zero_shot and run.split == "test":
            add_zero_shot(run, tables)
    return {key: divide(entries) for key, entries in sorted(tables.items(), key=sort_key)}, no_protocol


def table_and_column(run: Run) -> tuple[Key, str] | None:
    """Returns (table, column) of a trained run; None if it belongs to no protocol or its training is not known."""
    trained = run.training
    if run.split != "test" or trained is None or trained.dataset is None:
        return None
    same_dataset = trained.dataset == run.dataset
    if same_dataset and trained.classes == "base" and run.classes in ("base", "new"):
        return Key("base2new", run.backbone, shots=trained.shots), run.classes.title()
    if trained.classes != "all" or run.classes != "all":
        return None
    if same_dataset:
        return Key("fewshot", run.backbone), shots_column(trained.shots)
    entry = catalogue.entries().get(run.dataset)
    protocol = "domain_shift" if entry and entry.variant_of == trained.dataset else "cross_dataset"
    return Key(protocol, run.backbone, trained.dataset, trained.shots), "Accuracy"


def shots_column(shots: int | None) -> str:
    """Returns the column of runs with `shots` training images per class: "16", "all", or "?" if not known."""
    if shots is None:
        return "?"
    return shots_name(shots)


def sources_of(key: Key, entries: list[Entry], runs: list[Run]) -> list[Run]:
    """Returns the source runs of a table: the trainings whose models were tested on other datasets.

    They give the table's number on the source dataset. If a source run was not found by its run directory, the runs
    with the same method, settings and seed are returned.
    """
    source_runs = {}
    for entry in entries:
        source = entry.run.source_run
        if source and source.finished and source.split == "test":
            source_runs[id(source)] = source
    wanted = {(model_key(entry.run), entry.run.tested_model) for entry in entries}
    wanted -= {(model_key(run), run.tested_model) for run in source_runs.values()}
    equal_runs = []
    for run in runs:
        tested_on_source = run.split == "test" and run.classes == "all" and run.dataset == key.source
        if tested_on_source and run.training and not run.zero_shot and (model_key(run), run.tested_model) in wanted:
            equal_runs.append(run)
    return [*source_runs.values(), *equal_runs]


def without_sources(entries: list[Entry], sources: list[Run]) -> list[Entry]:
    """Returns the few-shot entries without the source runs of cross-dataset and distribution-shift tests.

    These protocols have their own settings (another regularization weight, fewer epochs). A source run stays in the
    few-shot table only if it fills a gap:

    - the method has few-shot runs with the same dataset and shots, all with the same settings and other seeds, or
    - the method has few-shot runs, but none with this dataset and shots, and all of its source runs with this dataset
      and shots have equal settings.
    """
    # Example: CLIPFit has few-shot runs on EuroSAT. Its runs on ImageNet with 16 shots:
    #   few-shot run ImageNet seed 1, BETA 2.0; source ImageNet seed 1, BETA 8.0  -> dropped: other settings
    #   few-shot run ImageNet seed 1, BETA 2.0; source ImageNet seed 2, BETA 2.0  -> kept: seed 2 was missing
    #   no few-shot run on ImageNet; sources BETA 8.0, seeds 1 and 2              -> kept: ImageNet was missing
    #   no few-shot run on ImageNet; sources BETA 8.0 and BETA 2.0                -> dropped: ambiguous settings
    source_ids = {id(run) for run in sources}
    few_shot = [entry for entry in entries if id(entry.run) not in source_ids]
    kept = list(few_shot)
    for entry in entries:
        if id(entry.run) not in source_ids:
            continue
        of_method = [other for other in few_shot if other.run.method == entry.run.method]
        same_cell = [other for other in of_method if (other.dataset, other.column) == (entry.dataset, entry.column)]
        if same_cell:
            settings = fingerprint(entry.run.training.settings)
            fills_gap = all(
                fingerprint(other.run.training.settings) == settings and other.run.seed != entry.run.seed
                for other in same_cell
            )
        else:
            source_settings = set()
            for run in sources:
                if run.method == entry.run.method and table_and_column(run) == table_and_column(entry.run):
                    if run.dataset == entry.dataset:
                        source_settings.add(fingerprint(run.training.settings))
            fills_gap = bool(of_method) and len(source_settings) == 1
        if fills_gap:
            kept.append(entry)
    return kept


def add_zero_shot(run: Run, tables: dict[Key, list[Entry]]) -> None:
    """Adds a zero-shot run to each table with its backbone and dataset. Creates a table if there is none."""
    candidates = {key: entries for key, entries in tables.items() if key.backbone == run.backbone}
    if run.classes != "all":
        keys = [key for key in candidates if key.protocol == "base2new"]
        keys = keys or [Key("base2new", run.backbone, shots=max(run.setup.shots, 0))]
    else:
        keys = []
        for key, entries in candidates.items():
            if key.protocol != "base2new" and run.dataset in {entry.dataset for entry in entries}:
                keys.append(key)
        keys = keys or [Key("fewshot", run.backbone)]
    for key in keys:
        if run.classes != "all":
            column = run.classes.title()
        else:
            column = "0" if key.protocol == "fewshot" else "Accuracy"
        tables.setdefault(key, []).append(Entry(run.dataset, column, run))


def sort_key(item) -> tuple:
    key = item[0]
    shots = -1 if key.shots is None else -key.shots  # most shots first
    return list(TITLES).index(key.protocol), key.backbone, key.source, shots

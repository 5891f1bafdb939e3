"""Sorts runs into the protocols of the CLIP literature by what was trained on and what was tested, not by folder.

base2new        trained on the base classes of a dataset, tested on its base and on its new classes
fewshot         trained on all classes, tested on the same
cross_dataset   trained on all classes of one dataset (ImageNet), tested on others
domain_shift    the same, tested on other images of the same classes (ImageNetV2, -Sketch, -A, -R)

Zero-shot CLIP trains on nothing: it stands in every table of its backbone that has its datasets.
"""

from dataclasses import dataclass

from datasets import catalogue

from .labels import shots_text
from .match_runs import model_key
from .rows import fingerprint
from .run import Run

TITLES = {
    "base2new": "Base to new",
    "fewshot": "Few-shot",
    "cross_dataset": "Cross-dataset",
    "domain_shift": "Domain shift",
}
ALL_IMAGES = "all"  # for NUM_SHOTS -1


@dataclass(frozen=True)
class Key:
    """Runs of one table."""

    protocol: str
    backbone: str
    source: str = ""  # dataset trained on, where it is not the one tested on
    shots: int | None = None  # in the few-shot table, there is a column for each

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
        """For file names and anchors."""
        shots = "" if self.protocol == "fewshot" else f"{self.shots}shots"
        name = "_".join(filter(None, (self.protocol, self.source, shots, self.backbone)))
        return "".join(c if c.isalnum() or c in "-_." else "-" for c in name)


@dataclass(frozen=True)
class Entry:
    """A run in its place in a table."""

    dataset: str
    column: str  # Base, New, Accuracy, or the number of shots
    run: Run


def sort_into_tables(runs: list[Run]) -> tuple[dict[Key, list[Entry]], list[Run]]:
    """Entries of every table, and the runs that belong to none. Only finished runs have a place."""
    tables, unplaced = {}, []
    finished = [run for run in runs if run.finished]
    for run in finished:
        found = None if run.zero_shot else table_and_column(run)
        if found:
            key, column = found
            tables.setdefault(key, []).append(Entry(run.dataset, column, run))
        elif not run.zero_shot or run.split != "test":
            unplaced.append(run)
    sources = []
    for key, entries in tables.items():
        if key.source:
            found = sources_of(key, entries, finished)
            sources += found
            entries += [Entry(key.source, "Accuracy", run) for run in found]
    for key in [key for key in tables if key.protocol == "fewshot"]:
        tables[key] = without_sources(tables[key], sources)
        if not tables[key]:
            del tables[key]
    for run in finished:
        if run.zero_shot and run.split == "test":
            add_zero_shot(run, tables)
    return dict(sorted(tables.items(), key=sort_key)), unplaced


def table_and_column(run: Run) -> tuple[Key, str] | None:
    """(table, column) of a run that was trained; None if it belongs to no protocol or is not known well enough."""
    trained = run.training
    if run.split != "test" or trained is None or trained.dataset is None:
        return None
    same = trained.dataset == run.dataset
    if same and trained.classes == "base" and run.classes in ("base", "new"):
        return Key("base2new", run.backbone, shots=trained.shots), run.classes.title()
    if trained.classes != "all" or run.classes != "all":
        return None
    if same:
        return Key("fewshot", run.backbone), shots_column(trained.shots)
    entry = catalogue.entries().get(run.dataset)
    protocol = "domain_shift" if entry and entry.variant_of == trained.dataset else "cross_dataset"
    return Key(protocol, run.backbone, trained.dataset, trained.shots), "Accuracy"


def shots_column(shots: int | None) -> str:
    """Title of the column of runs with so many training images a class."""
    return "?" if shots is None else ALL_IMAGES if shots < 0 else str(shots)


def sources_of(key: Key, entries: list[Entry], runs: list[Run]) -> list[Run]:
    """The runs whose models were tested on other datasets: they stand for the dataset trained on.

    Known by their folder; where that is not there, any run of the same settings and seed stands in.
    """
    known = [entry.run.source_run for entry in entries if entry.run.source_run]
    source_runs = {id(run): run for run in known if run.finished}
    wanted = {(model_key(entry.run), entry.run.tested_model) for entry in entries}
    wanted -= {(model_key(run), run.tested_model) for run in source_runs.values()}
    same = [
        run
        for run in runs
        if run.split == "test" and run.classes == "all" and run.training and run.dataset == key.source
        if not run.zero_shot and (model_key(run), run.tested_model) in wanted
    ]
    return [*source_runs.values(), *same]


def without_sources(entries: list[Entry], sources: list[Run]) -> list[Entry]:
    """Few-shot entries without the runs that cross-dataset and domain-shift tests start from.

    Those protocols have settings of their own (another weight of the regulariser, fewer epochs). A source run stays in
    the few-shot table only where it fills a gap: none of the method's few-shot runs has its dataset, shots and seed,
    and those with its dataset and shots, if there are any, have its settings.
    """
    chosen = {id(run) for run in sources}
    own = [entry for entry in entries if id(entry.run) not in chosen]
    kept = list(own)
    for entry in (entry for entry in entries if id(entry.run) in chosen):
        of_method = [other for other in own if other.run.method == entry.run.method]
        beside = [other for other in of_method if (other.dataset, other.column) == (entry.dataset, entry.column)]
        same = [run for run in sources if run.method == entry.run.method and run.dataset == entry.dataset]
        same = [run for run in same if table_and_column(run) == table_and_column(entry.run)]
        rivals = {fingerprint(run.training.settings) for run in same}
        if beside:
            fits = all(fingerprint(other.run.training.settings) == fingerprint(entry.run.training.settings)
                       and other.run.seed != entry.run.seed for other in beside)  # fmt: skip
        else:
            fits = bool(of_method) and len(rivals) == 1
        kept += [entry] if fits else []
    return kept


def add_zero_shot(run: Run, tables: dict[Key, list[Entry]]) -> None:
    """Enter a zero-shot run in each table of its backbone that has its dataset; in one more if there is none."""
    own = {key: entries for key, entries in tables.items() if key.backbone == run.backbone}
    if run.classes != "all":
        keys = [key for key in own if key.protocol == "base2new"]
        keys = keys or [Key("base2new", run.backbone, shots=max(run.own.shots, 0))]
    else:
        fewshot = Key("fewshot", run.backbone)
        keys = [key for key, entries in own.items() if run.dataset in {entry.dataset for entry in entries}]
        keys = [key for key in keys if key.protocol != "base2new"] or [fewshot]
    for key in keys:
        column = run.classes.title() if run.classes != "all" else "0" if key.protocol == "fewshot" else "Accuracy"
        tables.setdefault(key, []).append(Entry(run.dataset, column, run))


def sort_key(item) -> tuple:
    key = item[0]
    shots = -1 if key.shots is None else -key.shots  # most shots first
    return list(TITLES).index(key.protocol), key.backbone, key.source, shots

"""Sorts runs into the protocols of the CLIP literature by what was trained on and what was tested, not by folder.

base2new        trained on the base classes of a dataset, tested on its base and on its new classes
fewshot         trained on all classes, tested on the same
cross_dataset   trained on all classes of one dataset (ImageNet), tested on others
domain_shift    the same, tested on other images of the same classes (ImageNetV2, -Sketch, -A, -R)

Zero-shot CLIP trains on nothing: it stands in every table of its backbone that has its datasets.
"""

from dataclasses import dataclass

from .rows import fingerprint
from .run import Run

TITLES = {
    "base2new": "Base to new",
    "fewshot": "Few-shot",
    "cross_dataset": "Cross-dataset",
    "domain_shift": "Domain shift",
}
SHIFTED = {"ImageNet": ("ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR")}


@dataclass(frozen=True)
class Key:
    """Runs of one table."""

    protocol: str
    backbone: str
    source: str = ""  # dataset trained on, where it is not the one tested on
    shots: int | None = None  # None: a column each

    @property
    def title(self) -> str:
        parts = [TITLES[self.protocol]]
        if self.source:
            parts.append(f"trained on {self.source}")
        if self.protocol != "fewshot":
            parts.append("unknown shots" if self.shots is None else f"{self.shots} shots")
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


def place(runs: list[Run]) -> tuple[dict[Key, list[Entry]], list[Run]]:
    """Entries of every table, and the runs that belong to none. Only finished runs have a place."""
    tables, zero_shot, unplaced = {}, [], []
    for run in runs:
        if not run.finished:
            continue
        if run.zero_shot:
            zero_shot.append(run)
            continue
        spot = place_of(run)
        if spot:
            tables.setdefault(spot[0], []).append(Entry(run.dataset, spot[1], run))
        else:
            unplaced.append(run)
    for key, entries in tables.items():
        if key.source:
            entries += sources(key, entries, runs)
    for run in zero_shot:
        add_zero_shot(run, tables)
    return dict(sorted(tables.items(), key=sort_key)), unplaced


def place_of(run: Run) -> tuple[Key, str] | None:
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
        return Key("fewshot", run.backbone), str(trained.shots)
    protocol = "domain_shift" if run.dataset in SHIFTED.get(trained.dataset, ()) else "cross_dataset"
    return Key(protocol, run.backbone, trained.dataset, trained.shots), "Accuracy"


def sources(key: Key, entries: list[Entry], runs: list[Run]) -> list[Entry]:
    """What the models that were tested on other datasets reach on the one they were trained on."""
    wanted = {identity(entry.run) for entry in entries}
    found = [
        run
        for run in runs
        if run.finished and run.split == "test" and run.training and run.training.dataset == run.dataset == key.source
        if run.classes == "all" and not run.zero_shot and identity(run) in wanted
    ]
    return [Entry(key.source, "Accuracy", run) for run in found]


def identity(run: Run) -> tuple:
    """The same for all tests of one trained model."""
    trained = run.training
    return (
        run.method, run.backbone, run.origin, run.chosen, trained.dataset, trained.classes, trained.shots, trained.seed,
        fingerprint(trained.settings),
    )  # fmt: skip


def add_zero_shot(run: Run, tables: dict[Key, list[Entry]]) -> None:
    """Enter a zero-shot run in each table of its backbone; in one of its own if there is none."""
    if run.split != "test":
        return
    if run.classes == "all":
        tables.setdefault(Key("fewshot", run.backbone), []).append(Entry(run.dataset, "0", run))
        matching = [key for key in tables if key.source and key.backbone == run.backbone]
        column = "Accuracy"
    else:
        matching = [key for key in tables if key.protocol == "base2new" and key.backbone == run.backbone]
        matching = matching or [Key("base2new", run.backbone, shots=max(run.own.shots, 0))]
        column = run.classes.title()
    for key in matching:
        datasets = {entry.dataset for entry in tables.get(key, [])} | {key.source}
        if run.dataset in datasets or key.protocol == "base2new":
            tables.setdefault(key, []).append(Entry(run.dataset, column, run))


def sort_key(item) -> tuple:
    key = item[0]
    shots = -1 if key.shots is None else -key.shots  # most shots first
    return list(TITLES).index(key.protocol), key.backbone, key.source, shots


def drop(tables: dict[Key, list[Entry]], protocols: list[str]) -> dict[Key, list[Entry]]:
    return {key: entries for key, entries in tables.items() if not protocols or key.protocol in protocols}

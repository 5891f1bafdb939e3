"""Which runs of a method are repetitions of one experiment: rows of a table are split where settings differ.

Settings that differ between runs of the same dataset (and shots) make rows of their own. Settings that differ only from
one dataset (or number of shots) to another are what the papers' recipes do: one row, and a note.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field

from trainers.common.runs.record_schema import OF_TRAINING, PER_DATASET, PER_RUN, among

from .run import LAST, Run

SHOWN = 4  # settings named in a label
TESTED = "tested model"
UNKNOWN = "unknown"


@dataclass
class Row:
    method: str
    entries: list
    label: str = ""  # the settings that tell it from other rows of the method
    notes: list = field(default_factory=list)

    @property
    def title(self) -> str:
        return f"{self.method} ({self.label})" if self.label else self.method

    def setting(self, datasets: list[str]) -> str:
        """Names of the config files used on these datasets, and the label."""
        configs = sorted({entry.run.config for entry in self.entries if entry.dataset in datasets} - {""})
        return ", ".join(filter(None, ["/".join(configs), self.label]))

    @property
    def zero_shot(self) -> bool:
        return self.entries[0].run.zero_shot


def fingerprint(settings: dict | None) -> str:
    """Equal for equal settings, whatever the seed, the shots and the classes."""
    kept = {key: value for key, value in (settings or {}).items() if key not in PER_RUN}
    return json.dumps(kept, sort_keys=True, default=str)


def comparable(run: Run) -> dict[str, str]:
    """What must be equal in two runs for them to be repetitions, as text."""
    settings = {key: value for key, value in (run.training.settings or {}).items() if key not in PER_RUN}
    if run.zero_shot:
        settings = {key: value for key, value in settings.items() if not among(key, OF_TRAINING)}
    else:
        settings[TESTED] = run.chosen
    return {key: json.dumps(value, default=str) for key, value in settings.items()}


def split_rows(entries: list) -> list[Row]:
    """Rows of a table, by method and setting."""
    methods = defaultdict(list)
    for entry in entries:
        methods[entry.run.method].append(entry)
    rows = []
    for method in sorted(methods, key=lambda name: (not methods[name][0].run.zero_shot, name.lower())):
        origins = defaultdict(list)
        for entry in methods[method]:
            origins[entry.run.origin].append(entry)
        for origin in sorted(origins, key=lambda origin: origin != "ours"):
            own = split_method(method, origins[origin])
            for row in own:
                if origin == "others" and len(origins) > 1:
                    row.label = ", ".join(filter(None, [row.label, "of other code"]))
            rows += own
    return rows


def split_method(method: str, entries: list) -> list[Row]:
    """Rows of one method: one for each combination of the settings that differ within a cell."""
    settings = [comparable(entry.run) for entry in entries]
    cells = defaultdict(lambda: defaultdict(set))  # key -> cell -> values
    for entry, values in zip(entries, settings, strict=True):
        for key, value in values.items():
            cells[key][cell(entry)].add(value)
    within = sorted(key for key in cells if any(len(values) > 1 for values in cells[key].values()))
    groups = defaultdict(list)
    for entry, values in zip(entries, settings, strict=True):
        groups[tuple(values.get(key, UNKNOWN) for key in within)].append((entry, values))
    rows = [Row(method, [entry for entry, _ in groups[key]], label(within, key)) for key in sorted(groups)]
    tell_apart(rows)
    for row, key in zip(rows, sorted(groups), strict=True):
        if len(within) > SHOWN:
            row.notes.append(f"{row.title}: rows of {method} differ in {', '.join(within)}.")
        row.notes += between(row.title, groups[key], [key for key in cells if key not in within])
    partial = sorted(key for key in cells if key not in within and any(key not in values for values in settings))
    if partial:
        more = f" and {len(partial) - SHOWN} more" if len(partial) > SHOWN else ""
        rows[0].notes.append(f"{method}: told by some of the runs only: {', '.join(partial[:SHOWN])}{more}.")
    return rows


def cell(entry) -> tuple:
    """Runs with the same cell and other settings must not be averaged. Base and New are tests of one model."""
    return entry.dataset, "" if entry.column in ("Base", "New") else entry.column


def label(keys: list[str], values: tuple) -> str:
    """BETA 2.0, MAX_EPOCH 50"""
    shown = [
        text(value) if key == TESTED else f"{key.rpartition('.')[2]} {text(value)}"
        for key, value in zip(keys, values, strict=True)
    ]
    return ", ".join(shown[:SHOWN]) + (f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else "")


def text(value: str) -> str:
    """A value as a reader has it: without the quotes of JSON."""
    return value.strip('"').replace(LAST, "last epoch")


def at(*columns: str) -> str:
    """1 shot, 16 shots, 1, 2, 4 shots, all images, unknown shots"""
    if columns in (("all",), ("?",)):
        return {"all": "all images", "?": "unknown shots"}[columns[0]]
    return f"{', '.join(columns)} {'shot' if columns == ('1',) else 'shots'}"


def tell_apart(rows: list[Row]) -> None:
    """Number rows whose shortened labels are the same."""
    for row in rows:
        same = [other for other in rows if other.label == row.label]
        if len(same) > 1:
            for number, other in enumerate(same, 1):
                other.label += f" #{number}"


def between(title: str, entries: list[tuple], keys: list[str]) -> list[str]:
    """A note on each setting of a row's (entry, settings) that is not the same on all datasets or numbers of shots."""
    notes = []
    for key in sorted(key for key in keys if not among(key, PER_DATASET)):
        values = {(entry.dataset, entry.column): own[key] for entry, own in entries if key in own}
        if len(set(values.values())) > 1:
            places = group_places(values)
            usual = max(places, key=lambda value: len(places[value]))
            others = [f"{text(v)} {', '.join(places[v])}" for v in sorted(places) if v != usual]
            notes.append(f"{title}: {key} is {text(usual)}, but {'; '.join(others)}.")
    return notes


def group_places(values: dict[tuple, str]) -> dict[str, list[str]]:
    """Value -> where it holds, from (dataset, column) -> value: by dataset, by shots, or both, whichever suffices."""
    ways = (
        lambda dataset, column: f"on {dataset}",
        lambda dataset, column: f"at {at(column)}",
        lambda dataset, column: f"on {dataset} at {at(column)}",
    )
    for way in ways:
        places = defaultdict(set)
        for (dataset, column), value in values.items():
            places[value].add(way(dataset, column))
        if sum(map(len, places.values())) == len(set.union(*places.values())):
            break
    return {value: sorted(where) for value, where in places.items()}

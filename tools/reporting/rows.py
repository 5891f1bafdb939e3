"""Which runs of a method are repetitions of one experiment: rows of a table are split where settings differ.

Settings that differ between runs of the same dataset (and shots) make rows of their own. Settings that differ only from
one dataset (or number of shots) to another are what the papers' recipes do: one row, and a note.
"""

import json
from collections import defaultdict
from dataclasses import dataclass, field

from trainers.common.runs.record_schema import OF_TRAINING, PER_RUN, in_groups

from .labels import SHOWN, cell, changed, named, notes_on_variation, shorten
from .recipes import TESTED, differences
from .run import Run

UNKNOWN = "unknown"


@dataclass
class Row:
    method: str
    runs: list  # (entry, its settings, its `Differences` from the recipe)
    split_by: tuple = ()  # settings in which the rows of the method differ
    split: str = ""  # the values that they have here
    notes: list = field(default_factory=list)

    @property
    def entries(self) -> list:
        return [entry for entry, *_ in self.runs]

    @property
    def label(self) -> str:
        """The settings that tell it from other rows of the method, and those that differ from the recipe."""
        return ", ".join(filter(None, [self.split, shorten(changed(self.runs, self.split_by))]))

    @property
    def title(self) -> str:
        return f"{self.method} ({self.label})" if self.label else self.method

    def on(self, datasets: list[str]) -> list:
        return [run for run in self.runs if run[0].dataset in datasets]

    def setting(self, datasets: list[str]) -> str:
        """Names of the config files used on these datasets, and what else is special about the settings there."""
        runs = self.on(datasets)
        configs = sorted({entry.run.config for entry, *_ in runs} - {""})
        return ", ".join(filter(None, ["/".join(configs), self.split, shorten(changed(runs, self.split_by))]))

    def recipe(self, datasets: list[str]) -> str:
        """Whether the settings on these datasets are the recipe's: "recipe", what differs, or "no recipe"."""
        runs = self.on(datasets)
        if any(differ.compared_with != "recipe" for *_, differ in runs):
            return "no recipe"
        return ", ".join(changed(runs)) or "recipe"

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
        settings = {key: value for key, value in settings.items() if not in_groups(key, OF_TRAINING)}
    else:
        settings[TESTED] = run.tested_model
    return {key: json.dumps(value, default=str) for key, value in settings.items()}


def split_rows(entries: list, protocol: str = "") -> list[Row]:
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
            own = split_method(method, origins[origin], protocol)
            for row in own:
                if origin == "others" and len(origins) > 1:
                    row.split = ", ".join(filter(None, [row.split, "of other code"]))
            rows += own
    return rows


def split_method(method: str, entries: list, protocol: str) -> list[Row]:
    """Rows of one method: one for each combination of the settings that differ within a cell."""
    runs = [(entry, comparable(entry.run)) for entry in entries]
    cells = defaultdict(lambda: defaultdict(set))  # key -> cell -> values
    for entry, settings in runs:
        for key, value in settings.items():
            cells[key][cell(entry)].add(value)
    within = tuple(sorted(key for key in cells if any(len(values) > 1 for values in cells[key].values())))
    groups = defaultdict(list)
    for entry, settings in runs:
        differ = differences(entry.run, protocol, settings)
        groups[tuple(settings.get(key, UNKNOWN) for key in within)].append((entry, settings, differ))
    rows = []
    for values in sorted(groups):
        split = shorten([named(key, value) for key, value in zip(within, values, strict=True)])
        rows.append(Row(method, groups[values], within, split))
    tell_apart(rows)
    for row in rows:
        row.notes = notes_on(row, [key for key in cells if key not in within])
    partial = sorted(key for key in cells if key not in within and any(key not in own for _, own in runs))
    if partial:
        more = f" and {len(partial) - SHOWN} more" if len(partial) > SHOWN else ""
        rows[0].notes.append(f"{method}: told by some of the runs only: {', '.join(partial[:SHOWN])}{more}.")
    return rows


def notes_on(row: Row, shared: list[str]) -> list[str]:
    """Notes on what the label of a row has no room for, and on its settings that depend on dataset or shots."""
    notes, changes = [], changed(row.runs, row.split_by)
    if len(row.split_by) > SHOWN:
        notes.append(f"{row.title}: rows of {row.method} differ in {', '.join(row.split_by)}.")
    if len(changes) > SHOWN:
        notes.append(f"{row.title}: differs from the recipe in {', '.join(changes)}.")
    return notes + notes_on_variation(row.title, [(entry, settings) for entry, settings, _ in row.runs], shared)


def tell_apart(rows: list[Row]) -> None:
    """Number rows whose shortened labels are the same."""
    for row in rows:
        same = [other for other in rows if other.label == row.label]
        if len(same) > 1:
            for number, other in enumerate(same, 1):
                other.split += f" #{number}"

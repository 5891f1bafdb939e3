"""Splits the runs of a method into rows: only runs that repeat one experiment are averaged.

Runs of the same dataset and shots with different settings are in different rows. If settings differ only between
datasets or numbers of shots, as in the papers' recipes, the runs are in one row, with a note.
"""

import hashlib
import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field

from tools.records import instant, printable
from trainers.common.models.zero_shot_reference import comparison
from trainers.common.runs.record_schema import OF_TRAINING, PER_RUN, in_groups

from .images import group, training_images
from .labels import MAX_NAMED, RowRun, cell_of, changed, notes_on_variation, setting_name, shorten
from .recipes import EMPTY, TESTED, differences
from .run import Run, registry_name

UNKNOWN = "unknown"
START = "MODEL.START_FROM"  # not among the settings of a record, as it is a path
TRAINING_IMAGES = "training images"  # stands for them among the settings of a run
CHOSEN = "chosen on validation images"  # beginning of the value of a key that was chosen, with its candidates
USUAL = '""'  # value of TRAINING_IMAGES that is in no label


def join(*parts: str) -> str:
    """Joins the parts that are not empty with commas."""
    return ", ".join(part for part in parts if part)


@dataclass
class Row:
    method: str
    runs: list[RowRun]
    split_keys: tuple = ()  # settings that differ between the rows of the method
    split_label: str = ""  # their values in this row
    notes: list = field(default_factory=list)

    @property
    def entries(self) -> list:
        return [run.entry for run in self.runs]

    @property
    def label(self) -> str:
        """Settings that differ from the method's other rows or from the recipe."""
        return join(self.split_label, shorten(changed(self.runs, self.split_keys)))

    @property
    def title(self) -> str:
        return f"{self.method} ({self.label})" if self.label else self.method

    def on(self, datasets: list[str]) -> list[RowRun]:
        return [run for run in self.runs if run.entry.dataset in datasets]

    def setting(self, datasets: list[str]) -> str:
        """Returns the config files on these datasets, and the settings that differ from other rows or the recipe."""
        runs = self.on(datasets)
        configs = sorted({run.entry.run.config for run in runs} - {""})
        return join("/".join(configs), self.split_label, shorten(changed(runs, self.split_keys)))

    def recipe(self, datasets: list[str]) -> str:
        """Returns "recipe" if the settings on these datasets are the recipe's, the differences, or "no recipe"."""
        runs = self.on(datasets)
        if any(run.differences.compared_with != "recipe" for run in runs):
            return "no recipe"
        return ", ".join(changed(runs)) or "recipe"

    @property
    def zero_shot(self) -> bool:
        return self.entries[0].run.zero_shot


def fingerprint(settings: dict | None) -> str:
    """Returns a text that is equal for equal settings, ignoring seed, shots and classes."""
    kept = {key: value for key, value in (settings or {}).items() if key not in PER_RUN}
    return json.dumps(kept, sort_keys=True, default=str)


def comparable(run: Run) -> dict[str, str]:
    """Returns the settings that must be equal for two runs to repeat one experiment, each value as JSON text."""
    settings = {key: value for key, value in (run.training.settings or {}).items() if key not in PER_RUN}
    if run.zero_shot:
        settings = {key: value for key, value in settings.items() if not in_groups(key, OF_TRAINING)}
    else:
        settings[TESTED] = run.tested_model
    if not run.zero_shot:
        settings[START] = start_name(run)
    for key in run.choice.chosen.values if run.choice else ():
        settings[key] = f"{CHOSEN} from {', '.join(run.choice.values_of(key))}"  # one experiment, whatever was chosen
    return {key: json.dumps(value, default=str) for key, value in settings.items()}


def start_name(run: Run) -> str:
    """Returns what a run was started from: its method, and what differs from the run's own data; "" for nothing.

    Ends in a hash of the settings of that training, so that others are another experiment: "LayerNormTuning 3f2a".
    """
    if not run.start:
        return ""
    start, trained = run.start, run.training
    settings = start["settings"] or {}
    pairs = ((start["dataset"], trained.dataset), (start["classes"], trained.classes), (start["shots"], trained.shots))
    others = ["all images" if value == -1 else str(value) for value, own in pairs if value != own]
    digest = hashlib.sha256(fingerprint(settings).encode()).hexdigest()[:4]
    return printable(" ".join([str(settings.get("TRAINER.NAME")), *others, digest]))


def split_rows(entries: list, protocol: str = "") -> list[Row]:
    """Returns the rows of a table: per method, origin of the code, and setting. Zero-shot methods come first."""
    methods = defaultdict(list)
    for entry in entries:
        methods[entry.run.method].append(entry)
    rows = []
    for method in sorted(methods, key=lambda name: (not methods[name][0].run.zero_shot, name.lower())):
        origins = defaultdict(list)
        for entry in methods[method]:
            origins[entry.run.origin].append(entry)
        for origin in sorted(origins, key=lambda origin: origin != "ours"):
            origin_rows = split_method(method, origins[origin], protocol)
            if origin == "others" and len(origins) > 1:
                for row in origin_rows:
                    row.split_label = join(row.split_label, "other code")
            rows += origin_rows
    return rows


def is_chosen(value: str) -> bool:
    """Whether the value of a setting, as JSON text, says that it was chosen on validation images."""
    return value.startswith(f'"{CHOSEN}')


def split_method(method: str, entries: list, protocol: str) -> list[Row]:
    """Returns one row per combination of the settings that differ within a cell, or were chosen on val."""
    # Example: EuroSAT was run with BETA 2.0 and 8.0, UCF101 with BETA 8.0 and with another LR than EuroSAT.
    #   BETA differs within the cell of EuroSAT: rows "BETA 2.0" (EuroSAT) and "BETA 8.0" (EuroSAT, UCF101)
    #   LR differs only between cells: it splits no row, and gets a note
    settings_of = [(entry, comparable(entry.run)) for entry in entries]
    for (_, settings), images in zip(settings_of, differing_training_images(entries), strict=True):
        settings.update(images)
    values_of = defaultdict(lambda: defaultdict(set))  # key -> cell -> values
    for entry, settings in settings_of:
        for key, value in settings.items():
            values_of[key][cell_of(entry)].add(value)
    split_keys = []
    for key, cells in sorted(values_of.items()):
        chosen = any(is_chosen(value) for values in cells.values() for value in values)
        if chosen or any(len(values) > 1 for values in cells.values()):
            split_keys.append(key)
    split_keys = tuple(split_keys)
    groups = defaultdict(list)  # values of the split keys -> runs
    for entry, settings in settings_of:
        values = tuple(settings.get(key, UNKNOWN) for key in split_keys)
        groups[values].append(RowRun(entry, settings, differences(entry.run, protocol, settings)))
    rows = []
    for values in sorted(groups):
        pairs = [(key, value) for key, value in zip(split_keys, values, strict=True) if value not in EMPTY]
        label = shorten([setting_name(key, value) for key, value in pairs])
        rows.append(Row(method, groups[values], split_keys, label))
    number_equal_labels(rows)
    shared_keys = [key for key in values_of if key not in split_keys]
    for row in rows:
        row.notes = notes_on(row, shared_keys)
    partial = sorted(key for key in shared_keys if any(key not in settings for _, settings in settings_of))
    if partial:
        rows[0].notes.append(f"{method}: only some of the runs record {shorten(partial)}.")
    return rows


def differing_training_images(entries: list) -> list[dict[str, str]]:
    """Returns the setting TRAINING_IMAGES for each entry of a method; an empty dict if the images never differ.

    Few-shot images legitimately differ between seeds and shots. So the images are compared between runs with the same
    training classes, shots and seed. The images of most of these runs are the usual ones; of as many, the newest.
    """
    # Example: two runs with seed 1 on the images aaaaaa, one with seed 1 on bbbbbb, one with seed 2 on cccccc.
    #   values: usual, usual, "bbbbbb (96)", usual
    indices_of = defaultdict(list)  # (dataset, classes, shots, seed) of the training -> indices of entries
    images_of = [None if entry.run.zero_shot else training_images(entry.run) for entry in entries]
    for index, entry in enumerate(entries):
        trained = entry.run.training
        if images_of[index]:
            indices_of[trained.dataset, trained.classes, trained.shots, trained.seed].append(index)
    values = [USUAL] * len(entries)
    for indices in indices_of.values():
        numbers = group([{"train_x": images_of[index]} for index in indices])
        counts = Counter(numbers)
        newest = {
            number: instant(entries[index].run.extra.get("written")) or 0
            for index, number in zip(indices, numbers, strict=True)
        }
        usual = max(counts, key=lambda number: (counts[number], newest[number]))
        for index, number in zip(indices, numbers, strict=True):
            if number != usual:
                values[index] = json.dumps(images_of[index].text)
    return [{} if set(values) == {USUAL} else {TRAINING_IMAGES: value} for value in values]


def notes_on(row: Row, shared_keys: list[str]) -> list[str]:
    """Returns notes on settings that the label has no room for, and on those that differ between datasets or shots."""
    notes = []
    if len(row.split_keys) > MAX_NAMED:
        notes.append(f"{row.title}: rows of {row.method} differ in {', '.join(row.split_keys)}.")
    changes = changed(row.runs, row.split_keys)
    if len(changes) > MAX_NAMED:
        notes.append(f"{row.title}: differs from the recipe in {', '.join(changes)}.")
    return notes + notes_on_variation(row.title, row.runs, shared_keys) + published_zero_shot(row)


def published_zero_shot(row: Row) -> list[str]:
    """Returns a note per dataset of a zero-shot row whose published result is known (configs/zero_shot.yaml)."""
    runs = [entry.run for entry in row.entries if entry.run.zero_shot and entry.run.classes == "all"]
    lines = [comparison(run.backbone, registry_name(run.dataset), run.score) for run in runs if run.split == "test"]
    return [f"{line}." for line in dict.fromkeys(lines) if line]


def number_equal_labels(rows: list[Row]) -> None:
    """Appends #1, #2, ... to labels that are equal after shortening."""
    for row in rows:
        equal = [other for other in rows if other.label == row.label]
        if len(equal) > 1:
            for index, other in enumerate(equal, 1):
                other.split_label += f" #{index}"

"""Names of settings, in the labels of rows and in the notes below a table."""

from collections import defaultdict
from typing import NamedTuple

from tools.shots import shots_text
from trainers.common.runs.record_schema import PER_DATASET, in_groups

from .recipes import EMPTY, TESTED, Differences
from .run import LAST

MAX_NAMED = 4  # settings named in a label


class RowRun(NamedTuple):
    """A run in a row of a table."""

    entry: object  # a protocols.Entry
    settings: dict[str, str]  # key -> value as JSON text (`rows.comparable`)
    differences: Differences  # from the recipe


def shorten(names: list[str]) -> str:
    """Returns e.g. "BETA 2.0, MAX_EPOCH 50"; names beyond MAX_NAMED are counted ("and 2 more")."""
    text = ", ".join(names[:MAX_NAMED])
    return f"{text} and {len(names) - MAX_NAMED} more" if len(names) > MAX_NAMED else text


def setting_name(key: str, value: str) -> str:
    """Returns e.g. "BETA 2.0" for TRAINER.CLIPFIT.BETA."""
    return value_text(value) if key == TESTED else f"{key.rpartition('.')[2]} {value_text(value)}"


def value_text(value: str) -> str:
    """Returns a JSON value as shown in tables, without quotes; "none" if it is empty."""
    return "none" if value in EMPTY else value.strip('"').replace(LAST, "last epoch")


def cell_of(entry) -> tuple:
    """Returns the cell of a run. Runs in one cell are averaged, so their settings must be equal.

    Base and New are one cell because they test the same model.
    """
    return entry.dataset, "" if entry.column in ("Base", "New") else entry.column


def changed(runs: list[RowRun], exclude: tuple = ()) -> list[str]:
    """Returns the settings of a row that differ from the recipe.

    "BETA 4.0" if the value is the same in the whole row, otherwise "BETA 4.0 on EuroSAT".

    Args:
        exclude: keys that are not listed.
    """
    # Example: the recipe has BETA 8.0 and EuroSAT was run with 4.0.
    #   values  = {("UCF101", "16"): "8.0", ("EuroSAT", "16"): "4.0"}
    #   changed_cells = {("EuroSAT", "16")}
    #   result  = ["BETA 4.0 on EuroSAT"]
    keys = {key for run in runs for key in run.differences.values} - set(exclude)
    names = []
    for key in sorted(keys):
        values = {}
        changed_cells = set()
        for run in runs:
            cell = cell_of(run.entry)
            values[cell] = run.differences.values.get(key, run.settings.get(key))
            if key in run.differences.values:
                changed_cells.add(cell)
        if len(set(values.values())) == 1:
            names.append(setting_name(key, values.popitem()[1]))
            continue
        scopes = group_scopes({cell: (value, cell in changed_cells) for cell, value in values.items()})
        changes = sorted((value, cells) for (value, differs), cells in scopes.items() if differs)
        names += [f"{setting_name(key, value)} {', '.join(cells)}" for value, cells in changes]
    return names


def notes_on_variation(title: str, runs: list[RowRun], keys: list[str]) -> list[str]:
    """Returns a note per setting that differs between a row's datasets or numbers of shots."""
    notes = []
    for key in sorted(key for key in keys if not in_groups(key, PER_DATASET)):
        values = {
            (run.entry.dataset, run.entry.column): run.settings[key] for run in runs if key in run.settings
        }  # fmt: skip
        if len(set(values.values())) > 1:
            scopes = group_scopes(values)
            usual = max(scopes, key=lambda value: len(scopes[value]))
            others = [f"{value_text(value)} {', '.join(scopes[value])}" for value in sorted(scopes) if value != usual]
            notes.append(f"{title}: {key} is {value_text(usual)}, except {'; '.join(others)}.")
    return notes


def group_scopes(values: dict[tuple, str]) -> dict[str, list[str]]:
    """Returns value -> scopes with this value, e.g. "on EuroSAT", from (dataset, column) -> value.

    The scopes are datasets if these determine the value, else shots if these do, else both.
    """
    # Example: {("a", "1"): 50, ("b", "1"): 50, ("a", "8"): 200, ("b", "8"): 200}
    #   by dataset: "on a" has 50 and 200, so datasets do not determine the value
    #   by shots:   {50: ["at 1 shot"], 200: ["at 8 shots"]}
    formats = (
        lambda dataset, column: f"on {dataset}",
        lambda dataset, column: f"at {shots_text(column)}",
        lambda dataset, column: f"on {dataset} at {shots_text(column)}",
    )
    for scope_of in formats:
        scopes = defaultdict(set)
        for (dataset, column), value in values.items():
            scopes[value].add(scope_of(dataset, column))
        no_overlap = sum(map(len, scopes.values())) == len(set.union(*scopes.values()))
        if no_overlap:
            break
    return {value: sorted(value_scopes) for value, value_scopes in scopes.items()}

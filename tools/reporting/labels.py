"""How settings are named in tables: in the label of a row, and in the notes below."""

from collections import defaultdict

from trainers.common.runs.record_schema import PER_DATASET, in_groups

from .recipes import TESTED
from .run import LAST

SHOWN = 4  # settings named in a label


def shorten(names: list[str]) -> str:
    """BETA 2.0, MAX_EPOCH 50; more than SHOWN are counted."""
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")


def named(key: str, value: str) -> str:
    """BETA 2.0"""
    return text(value) if key == TESTED else f"{key.rpartition('.')[2]} {text(value)}"


def text(value: str) -> str:
    """A value as a reader has it: without the quotes of JSON."""
    return value.strip('"').replace(LAST, "last epoch")


def shots_text(*columns: str) -> str:
    """1 shot, 16 shots, 1, 2, 4 shots, all images, unknown shots"""
    if columns in (("all",), ("?",)):
        return {"all": "all images", "?": "unknown shots"}[columns[0]]
    return f"{', '.join(columns)} {'shot' if columns == ('1',) else 'shots'}"


def cell(entry) -> tuple:
    """Runs with the same cell and other settings must not be averaged. Base and New are tests of one model."""
    return entry.dataset, "" if entry.column in ("Base", "New") else entry.column


def changed(runs: list, without: tuple = ()) -> list[str]:
    """What differs from the recipe in a row: "BETA 4.0", or "BETA 4.0 on EuroSAT" if it does not hold in all of it.

    Args:
        runs: (entry, its settings, its `Differences` from the recipe).
        without: keys that are left out.
    """
    names = []
    for key in sorted({key for *_, differences in runs for key in differences.values} - set(without)):
        values, differ = {}, set()
        for entry, settings, differences in runs:
            values[cell(entry)] = differences.values.get(key, settings.get(key))
            differ |= {cell(entry)} if key in differences.values else set()
        if len(set(values.values())) == 1:
            names.append(named(key, values.popitem()[1]))
            continue
        places = group_places({where: (value, where in differ) for where, value in values.items()})
        changes = [(value, where) for (value, differs), where in places.items() if differs]
        names += [f"{named(key, value)} {', '.join(where)}" for value, where in sorted(changes)]
    return names


def notes_on_variation(title: str, entries: list[tuple], keys: list[str]) -> list[str]:
    """A note on each setting of a row's (entry, settings) that is not the same on all datasets or numbers of shots."""
    notes = []
    for key in sorted(key for key in keys if not in_groups(key, PER_DATASET)):
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
        lambda dataset, column: f"at {shots_text(column)}",
        lambda dataset, column: f"on {dataset} at {shots_text(column)}",
    )
    for way in ways:
        places = defaultdict(set)
        for (dataset, column), value in values.items():
            places[value].add(way(dataset, column))
        if sum(map(len, places.values())) == len(set.union(*places.values())):
            break
    return {value: sorted(where) for value, where in places.items()}

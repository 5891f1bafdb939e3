"""Settings that follow from the result of another run: its most changed layers."""

import functools

from tools.sweeping.state import read_record
from trainers.common.runs.record_schema import FILE

from .rows import MostChanged, Row


def resolve(row: Row, folder) -> dict | None:
    """Returns the keys of a row with the most changed layers of the run in `folder`; None if it is not finished.

    Raises ValueError if the run tunes fewer layers.
    """
    record = read_record(folder / FILE) or {}
    if not record.get("finished"):
        return None
    keys = {}
    for key, value in row.keys.items():
        changed = isinstance(value, MostChanged)
        keys[key] = most_changed(str(folder), value.set, value.count) if changed else value
    return keys


@functools.cache
def most_changed(folder: str, parameter_set: str, count: int) -> str:
    """Returns the value of a TUNE key that names the most changed layers of a run."""
    from tools.analysing.rank import rank, tune_value
    from tools.analysing.runs import load_run

    run = load_run(folder)
    layers = len(rank(run).get(parameter_set, []))
    if count > layers:
        raise ValueError(
            f"most_changed: count is {count}, but the run that it follows from tunes {layers} layers of "
            f"{parameter_set!r}"
        )
    return str(tune_value(run, parameter_set, count))

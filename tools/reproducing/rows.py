"""The rows of a study: methods with config keys, whose values may vary or follow from another run."""

import itertools
from dataclasses import dataclass, replace

from tools.fields import check_fields

from .fields import text_of, texts

ROW_FIELDS = {"method": (str,), "keys": (dict,), "rehearsal": (dict,), "paper": (str,), "start_from": (str,)}
MOST_CHANGED_FIELDS = {"most_changed": (str,), "count": (int,), "run": (str,)}


@dataclass(frozen=True)
class MostChanged:
    """A value of a TUNE key that follows from another run: the `count` layers of a set that it has changed most."""

    set: str
    count: int
    run: str  # name of the row of that run


@dataclass(frozen=True)
class Row:
    """A row of a table, or a line of a plot: a method with config keys.

    Attributes:
        keys: config key -> value as text, or `MostChanged`.
        paper: name in the paper's results; "" for the method's.
        x: of a row of `vary` or `values`: the varied values.
        curve: name of its curve in a plot over the varied values.
        start_from: method whose tuned parameters of CLIP the row starts from.
    """

    name: str
    method: str
    keys: dict
    paper: str = ""
    x: tuple = ()
    curve: str = ""
    start_from: str = ""


def make_rows(content: dict, where: str, rehearse: bool) -> tuple[Row, ...]:
    if "rows" in content:
        for other in ("methods", "vary"):
            if other in content:
                raise ValueError(f"{where}: give rows or {other}, not both")
        rows = []
        named = values_of(content, where, rehearse)
        for name, row in content["rows"].items():
            rows += row_per_value(name, row or {}, f"{where}: rows: {name}", named, rehearse)
    else:
        if "values" in content:
            raise ValueError(f"{where}: values are for rows: give rows, or vary instead of values")
        methods = texts(content.get("methods", []), where)
        vary = content.get("vary", {})
        for key, values in vary.items():
            if not isinstance(values, list) or not values:
                raise ValueError(f"{where}: vary: {key} must be a list of values, got {values!r}")
        rows = tuple(varied_row(method, keys, methods) for method in methods for keys in combinations(vary))
    if not rows:
        raise ValueError(f"{where}: no methods: list them in methods, or name rows")
    names = {row.name: row for row in rows}
    for row in rows:
        for value in row.keys.values():
            source = names.get(value.run) if isinstance(value, MostChanged) else None
            if isinstance(value, MostChanged) and (source is None or source is row or follows(source)):
                others = ", ".join(name for name, other in names.items() if not follows(other))
                raise ValueError(f"{where}: rows: {row.name}: run must be one of {others}, got {value.run!r}")
    return tuple(rows)


def values_of(content: dict, where: str, rehearse: bool) -> dict[str, list]:
    """Returns name -> values of a study's `values`, which has one name at most; in a rehearsal those of `rehearsal`."""
    named = content.get("values", {})
    rehearsal = content.get("rehearsal", {})
    if len(named) > 1:
        raise ValueError(f"{where}: values must have one name, got {', '.join(named)}")
    if rehearsal and rehearsal.keys() != named.keys():
        raise ValueError(f"{where}: rehearsal must have the names of values, got {', '.join(rehearsal)}")
    for field, found in (("values", named), ("rehearsal", rehearsal)):
        for name, values in found.items():
            if not isinstance(values, list) or not values:
                raise ValueError(f"{where}: {field}: {name} must be a list of values, got {values!r}")
            repeated = [value for value in values if values.count(value) > 1]
            if repeated:
                raise ValueError(f"{where}: {field}: {name}: duplicate value {repeated[0]!r}")
    if named and not any(f"{{{name}}}" in str(content["rows"]) for name in named):
        raise ValueError(f"{where}: values: no row has {', '.join(f'{{{name}}}' for name in named)}")
    return rehearsal if rehearse and rehearsal else named


def row_per_value(name: str, content, where: str, named: dict[str, list], rehearse: bool) -> list[Row]:
    """Returns the row; if its keys have a named value in braces, such as first{layers}, a row for each value."""
    for placeholder, values in named.items():
        if f"{{{placeholder}}}" in str(content):
            rows = [make_row(f"{name} {x}", inserted(content, placeholder, x), where, rehearse) for x in values]
            return [replace(row, x=(x,), curve=name) for row, x in zip(rows, values, strict=True)]
    return [make_row(name, content, where, rehearse)]


def inserted(content, name: str, value):
    """Returns parts of a YAML file with a value for {name}. A text that is only {name} becomes the value itself."""
    if isinstance(content, dict):
        return {key: inserted(item, name, value) for key, item in content.items()}
    if isinstance(content, list):
        return [inserted(item, name, value) for item in content]
    if content == f"{{{name}}}":
        return value
    return content.replace(f"{{{name}}}", str(value)) if isinstance(content, str) else content


def follows(row: Row) -> bool:
    """Whether the settings of a row follow from another run."""
    return any(isinstance(value, MostChanged) for value in row.keys.values())


def make_row(name: str, content, where: str, rehearse: bool) -> Row:
    check_fields(content, ROW_FIELDS, where)
    keys, rehearsal = (
        {key: value_of(value, f"{where}: {key}") for key, value in content.get(field, {}).items()}
        for field in ("keys", "rehearsal")
    )
    keys = {**keys, **rehearsal} if rehearse else keys
    start_from = content.get("start_from", "")
    return Row(name, content.get("method", "CLIPFit"), keys, content.get("paper", ""), start_from=start_from)


def varied_row(method: str, keys: dict, methods: tuple[str, ...]) -> Row:
    """Returns the row of a combination of varied values. Example of its name: "BETA 4.0"."""
    parts = [f"{key.rpartition('.')[2]} {text_of(value)}" for key, value in keys.items()]
    name = ", ".join(parts if parts and len(methods) == 1 else [method, *parts])
    curve = method if len(methods) > 1 else ""
    return Row(name, method, {key: text_of(value) for key, value in keys.items()}, x=tuple(keys.values()), curve=curve)


def combinations(vary: dict) -> list[dict]:
    return [dict(zip(vary, values, strict=True)) for values in itertools.product(*vary.values())]


def value_of(value, where: str):
    """Returns the value of a key in `keys`: text, or `MostChanged`."""
    if not isinstance(value, dict):
        return text_of(value)
    check_fields(value, MOST_CHANGED_FIELDS, where)
    missing = [field for field in MOST_CHANGED_FIELDS if field not in value]
    if missing:
        raise ValueError(f"{where}: {missing[0]} is missing; the fields are {', '.join(MOST_CHANGED_FIELDS)}")
    if value["count"] < 1:
        raise ValueError(f"{where}: count must be 1 or more, got {value['count']}")
    return MostChanged(value["most_changed"], value["count"], value["run"])

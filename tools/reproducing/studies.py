"""Reads studies from YAML: configs/studies.yaml, which explains the fields, and files of the same form."""

import difflib
import itertools
import re
import string
from dataclasses import dataclass

from runtime.config_files import read_yaml
from tools.recipe import CONFIGS
from tools.sweeping.plan import PROTOCOLS, SHOTS

FILE = CONFIGS / "studies.yaml"
ALL = "all"
PAPER = "paper"  # of `datasets`: the eleven of the papers
NO_PAPER = "none"  # of a row's `paper`: the paper does not print it
SHOWS = (
    "accuracy", "averages", "curve", "efficiency", "datasets", "change", "gradients", "iterations", "embedding",
)  # fmt: skip
TRACED = ("gradients", "iterations")  # need runs with TRAIN.TRACE True
PLACEHOLDERS = ("dataset", "row", "shots", "column")  # in `paper`
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
FIELDS = {
    "title": (str,), "protocol": (str,), "methods": (list,), "rows": (dict,), "vary": (dict,), "shots": (list,),
    "datasets": (list, str), "targets": (list,), "seeds": (list,), "show": (list, str), "tensors": (list,),
    "paper": (str,), "notes": (list,),
}  # fmt: skip
ROW_FIELDS = {"method": (str,), "keys": (dict,), "rehearsal": (dict,), "paper": (str,)}
MOST_CHANGED_FIELDS = {"most_changed": (str,), "count": (int,), "run": (str,)}
TYPES = {str: "text", list: "a list", dict: "a mapping", int: "a whole number"}


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
        x: of a row of `vary`: the values of the varied keys.
    """

    name: str
    method: str
    keys: dict
    rehearsal: dict
    paper: str = ""
    x: tuple = ()


@dataclass(frozen=True)
class Study:
    name: str
    title: str
    protocol: str
    rows: tuple[Row, ...]
    shots: tuple[int, ...]
    datasets: tuple[str, ...] | str
    targets: tuple[str, ...]
    seeds: tuple[int, ...]
    shows: tuple[str, ...]
    vary: tuple[str, ...]  # varied keys
    tensors: tuple[str, ...]
    paper: str
    notes: tuple[str, ...]

    @property
    def traced(self) -> bool:
        return any(show in TRACED for show in self.shows)


def read_studies(paths: list[str]) -> dict[str, Study]:
    """Returns the studies of configs/studies.yaml and of further files, by name.

    Raises:
        OSError: a file cannot be read.
        ValueError: a file is not YAML of the right form, or two studies have the same name.
    """
    studies = {}
    origins = {}
    for path in map(str, (FILE, *paths)):
        for name, content in read_yaml(path).items():
            where = f"{path}: {name}"
            if name in studies:
                raise ValueError(f"{where}: {origins[name]} has a study of this name: choose another")
            if not NAME.fullmatch(name) or name == ALL:
                raise ValueError(f"{where}: a name must be letters, digits, '.', '_' and '-', and not {ALL!r}")
            studies[name] = make_study(name, content, where)
            origins[name] = path
    return studies


def select(names: list[str], studies: dict[str, Study]) -> list[Study]:
    """Returns the named studies, or all for ["all"]. Raises ValueError for an unknown name."""
    if ALL in names:
        return list(studies.values())
    known = {name.lower(): name for name in studies}
    chosen = {}
    for name in names:
        if name.lower() not in known:
            near = [known[match] for match in difflib.get_close_matches(name.lower(), known, 3, cutoff=0.5)]
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(studies)}"
            raise ValueError(f"unknown study {name!r}; {hint}")
        chosen[known[name.lower()]] = None
    return [studies[name] for name in chosen]


def has_method(study: Study, methods: list[str]) -> bool:
    """Whether a row of the study has one of the methods; True for a study without runs."""
    return not study.rows or methods == [ALL] or any(row.method in methods for row in study.rows)


def make_study(name: str, content, where: str) -> Study:
    """Returns the study of an entry. Raises ValueError if a field is unknown, missing or wrong."""
    check_fields(content, FIELDS, where)
    shows = as_tuple(content.get("show", "accuracy"))
    check_one_of(shows, SHOWS, f"{where}: show")
    counts_data = shows == ("datasets",)
    if "title" not in content:
        raise ValueError(f"{where}: title is missing: say what the study shows")
    protocol = content.get("protocol", "")
    if not counts_data:
        check_one_of((protocol,), PROTOCOLS, f"{where}: protocol")
    rows = () if counts_data else make_rows(content, where)
    shots = numbers(content.get("shots", SHOTS.get(protocol, [16])), 1, f"{where}: shots")
    datasets = content.get("datasets", PAPER)
    if isinstance(datasets, str) and datasets != PAPER:
        raise ValueError(f"{where}: datasets must be a list or {PAPER}, got {datasets!r}")
    check_paper(content.get("paper", ""), f"{where}: paper")
    vary = tuple(content.get("vary", {}))
    if "curve" in shows and len(vary) != 1:
        raise ValueError(f"{where}: show: curve needs one key in vary, got {len(vary)}")
    return Study(
        name, content["title"], protocol, rows, shots, datasets if datasets == PAPER else texts(datasets, where),
        texts(content.get("targets", []), where), numbers(content.get("seeds", [1, 2, 3]), 0, f"{where}: seeds"), shows,
        vary, texts(content.get("tensors", []), where), content.get("paper", ""),
        tuple(flat(content.get("notes", []))),
    )  # fmt: skip


def make_rows(content: dict, where: str) -> tuple[Row, ...]:
    if "rows" in content:
        for other in ("methods", "vary"):
            if other in content:
                raise ValueError(f"{where}: give rows or {other}, not both")
        rows = tuple(make_row(name, row or {}, f"{where}: rows: {name}") for name, row in content["rows"].items())
    else:
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
    return rows


def follows(row: Row) -> bool:
    """Whether the settings of a row follow from another run."""
    return any(isinstance(value, MostChanged) for value in row.keys.values())


def make_row(name: str, content, where: str) -> Row:
    check_fields(content, ROW_FIELDS, where)
    keys = {key: value_of(value, f"{where}: {key}") for key, value in content.get("keys", {}).items()}
    rehearsal = {key: text_of(value) for key, value in content.get("rehearsal", {}).items()}
    return Row(name, content.get("method", "CLIPFit"), keys, rehearsal, content.get("paper", ""))


def varied_row(method: str, keys: dict, methods: tuple[str, ...]) -> Row:
    """Returns the row of a combination of varied values. Example of its name: "BETA 4.0"."""
    parts = [f"{key.rpartition('.')[2]} {text_of(value)}" for key, value in keys.items()]
    name = ", ".join(parts if parts and len(methods) == 1 else [method, *parts])
    return Row(name, method, {key: text_of(value) for key, value in keys.items()}, {}, x=tuple(keys.values()))


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


def text_of(value) -> str:
    """Returns a value as a word of train.py's command line: a list as ('a', 'b')."""
    return str(tuple(value)) if isinstance(value, list) else str(value)


def check_fields(content, fields: dict, where: str) -> None:
    """Raises ValueError if `content` is no mapping, or has an unknown field or one of the wrong type."""
    if not isinstance(content, dict):
        raise ValueError(f"{where}: must be fields, got {content!r:.60}")
    for field, value in content.items():
        if field not in fields:
            near = difflib.get_close_matches(field, fields, 1)
            hint = f" (did you mean {near[0]}?)" if near else ""
            raise ValueError(f"{where}: unknown field {field!r}{hint}; allowed: {', '.join(fields)}")
        if not isinstance(value, fields[field]) or isinstance(value, bool):
            allowed = " or ".join(TYPES[kind] for kind in fields[field])
            raise ValueError(f"{where}: {field} must be {allowed}, got {value!r:.60}")


def check_one_of(values: tuple, allowed, where: str) -> None:
    for value in values:
        if value not in allowed:
            raise ValueError(f"{where} must be one of {', '.join(allowed)}, got {value!r}")


def check_paper(text: str, where: str) -> None:
    """Raises ValueError if a path has another placeholder than those allowed."""
    try:
        names = [name for _, name, _, _ in string.Formatter().parse(text) if name is not None]
    except ValueError as error:
        raise ValueError(f"{where}: {error}, got {text!r}") from None
    for name in names:
        if name not in PLACEHOLDERS:
            allowed = ", ".join(f"{{{other}}}" for other in PLACEHOLDERS)
            raise ValueError(f"{where}: unknown placeholder {{{name}}}; allowed: {allowed}")


def as_tuple(value) -> tuple:
    return tuple(value) if isinstance(value, list) else (value,)


def texts(values: list, where: str) -> tuple[str, ...]:
    for value in values:
        if not isinstance(value, str):
            raise ValueError(f"{where}: {value!r} must be text")
    return tuple(values)


def numbers(values: list, least: int, where: str) -> tuple[int, ...]:
    for value in values:
        if type(value) is not int or value < least:
            raise ValueError(f"{where} must be whole numbers of at least {least}, got {value!r}")
    if not values:
        raise ValueError(f"{where} must not be empty")
    return tuple(values)


def flat(values: list) -> list[str]:
    """Returns lists in a list as one list: YAML's aliases insert a list of notes as one item."""
    result = []
    for value in values:
        result += flat(value) if isinstance(value, list) else [str(value)]
    return result

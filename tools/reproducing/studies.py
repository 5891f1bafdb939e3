"""Reads studies from YAML: configs/studies.yaml, which explains the fields, and files of the same form."""

import difflib
import re
from dataclasses import dataclass

from runtime.config_files import read_yaml
from tools.fields import check_fields, check_one_of
from tools.recipe import CONFIGS
from tools.sweeping.plan import PROTOCOLS, SHOTS

from .fields import as_tuple, check_paper, flat, numbers, texts
from .fields import shots as read_shots
from .rows import Row, make_rows

FILE = CONFIGS / "studies.yaml"
ALL = "all"
PAPER = "paper"  # of `datasets`: the eleven of the papers
NO_PAPER = "none"  # of a row's `paper`: the paper does not print it
SHOWS = (
    "accuracy", "averages", "bars", "curve", "efficiency", "datasets", "change", "gradients", "iterations", "embedding",
)  # fmt: skip
TRACED = ("gradients", "iterations")  # need runs with TRAIN.TRACE True
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
FIELDS = {
    "title": (str,), "protocol": (str,), "methods": (list,), "rows": (dict,), "vary": (dict,), "values": (dict,),
    "rehearsal": (dict,), "shots": (list,), "datasets": (list, str), "targets": (list,), "seeds": (list,),
    "show": (list, str), "tensors": (list,), "paper": (str,), "notes": (list,), "other_data": (bool,),
    "in_all": (bool,),
}  # fmt: skip


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
    varied: tuple[str, ...]  # names of the varied values: keys of `vary`, or the name in `values`
    tensors: tuple[str, ...]
    paper: str
    notes: tuple[str, ...]
    other_data: bool  # the printed numbers are of other or unknown datasets and backbones
    in_all: bool  # False for a study that is not one of the paper's tables, figures and experiments

    @property
    def source(self) -> str:
        """The source of the printed numbers, as in configs/published.yaml."""
        return self.paper.partition("/")[0]

    @property
    def traced(self) -> bool:
        return any(show in TRACED for show in self.shows)


def read_studies(paths: list[str], rehearse: bool = False) -> dict[str, Study]:
    """Returns the studies of configs/studies.yaml and of further files, by name.

    Args:
        rehearse: Use the values and keys for the micro CLIP, if a study has them (`rehearsal`).

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
            studies[name] = make_study(name, content, where, rehearse)
            origins[name] = path
    return studies


def select(names: list[str], studies: dict[str, Study]) -> list[Study]:
    """Returns the named studies; "all" stands for those that are `in_all`. Raises ValueError for an unknown name."""
    known = {name.lower(): name for name in studies}
    chosen = {name: None for name, study in studies.items() if study.in_all and ALL in names}
    for name in names:
        if name == ALL:
            continue
        if name.lower() not in known:
            near = [known[match] for match in difflib.get_close_matches(name.lower(), known, 3, cutoff=0.5)]
            hint = f"did you mean {' or '.join(near)}?" if near else f"there are {', '.join(studies)}"
            raise ValueError(f"unknown study {name!r}; {hint}")
        chosen[known[name.lower()]] = None
    return [studies[name] for name in chosen]


def has_method(study: Study, methods: list[str]) -> bool:
    """Whether a row of the study has one of the methods; True for a study without runs."""
    return not study.rows or methods == [ALL] or any(row.method in methods for row in study.rows)


def make_study(name: str, content, where: str, rehearse: bool = False) -> Study:
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
    rows = () if counts_data else make_rows(content, where, rehearse)
    shots = read_shots(content.get("shots", SHOTS.get(protocol, [16])), f"{where}: shots")
    datasets = content.get("datasets", PAPER)
    if isinstance(datasets, str) and datasets != PAPER:
        raise ValueError(f"{where}: datasets must be a list or {PAPER}, got {datasets!r}")
    check_paper(content.get("paper", ""), f"{where}: paper")
    varied = (*content.get("vary", {}), *content.get("values", {}))
    if "curve" in shows and len(varied) != 1:
        raise ValueError(f"{where}: show: curve needs one key in vary, or one name in values, got {len(varied)}")
    return Study(
        name, content["title"], protocol, rows, shots, datasets if datasets == PAPER else texts(datasets, where),
        texts(content.get("targets", []), where), numbers(content.get("seeds", [1, 2, 3]), 0, f"{where}: seeds"), shows,
        varied, texts(content.get("tensors", []), where), content.get("paper", ""),
        tuple(flat(content.get("notes", []))), content.get("other_data", False), content.get("in_all", True),
    )  # fmt: skip

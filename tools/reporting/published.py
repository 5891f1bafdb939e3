"""Reads and checks configs/published.yaml, which explains its fields."""

import fnmatch
import re
from collections import defaultdict
from functools import cache
from pathlib import Path

import yaml

from datasets import catalogue
from runtime.config_files import read_text
from tools.fields import check_fields, check_one_of
from tools.recipe import CONFIGS

from .printed_numbers import ACCURACY, AVERAGE, BY, Number, Published

FILE = CONFIGS / "published.yaml"
PROTOCOLS = {  # protocol -> allowed columns
    "base2new": ("Base", "New", "H"), "fewshot": None, "cross_dataset": (ACCURACY,), "domain_shift": (ACCURACY,),
}  # fmt: skip
FIELDS = {
    "datasets": (dict,), "not_implemented": (list,), "sources": (dict,), "tables": (list,), "remarks": (list,),
    "studies": (dict,),
}  # fmt: skip
SOURCE_FIELDS = {"title": (str,), "link": (str,), "read": (str,), "seeds": (int, type(None))}
TABLE_FIELDS = {
    "source": (str,), "where": (str,), "by": (str,), "protocol": (str,), "backbone": (str,), "shots": (int,),
    "columns": (list,), "average": (str, list), "results": (dict,),
}  # fmt: skip
REMARK_FIELDS = {"source": (str,), "where": (str,), "text": (str,), "numbers": (list,)}


@cache
def published() -> Published:
    return read(FILE)


class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """Refuses a duplicate key: its first numbers would be lost."""

    def construct_mapping(self, node, deep=False):
        keys = [key.value for key, _ in node.value]
        for (key, _), text in zip(node.value, keys, strict=True):
            if keys.count(text) > 1:
                raise yaml.MarkedYAMLError(problem=f"duplicate key {text!r}", problem_mark=key.start_mark)
        return super().construct_mapping(node, deep)


def read(path: Path) -> Published:
    """Returns the content of a file of published numbers.

    Raises:
        OSError: the file cannot be read.
        ValueError: it is not YAML of the right form; the message is one line that names the entry.
    """
    try:
        content = yaml.load(read_text(str(path)), Loader)
    except yaml.YAMLError as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    check_fields(content, FIELDS, str(path), required=("sources", "tables"))
    check_names(content["sources"], f"{path}: sources")
    check_names(content.get("not_implemented", []), f"{path}: not_implemented")
    for name, source in content["sources"].items():
        check_fields(source, SOURCE_FIELDS, f"{path}: sources: {name}", required=SOURCE_FIELDS)
        if source["seeds"] is not None and source["seeds"] < 1:
            raise ValueError(f"{path}: sources: {name}: seeds must be above 0 or null, got {source['seeds']}")
    known = {*catalogue.entries(), AVERAGE}
    for name, datasets in content.get("datasets", {}).items():
        check_datasets(datasets, known, f"{path}: datasets: {name}")
    numbers = {}
    for i, table in enumerate(content["tables"], 1):
        for number in numbers_of(table, content, known, f"{path}: table {i}"):
            key = (number.path, number.where, number.backbone)
            if key in numbers:
                raise ValueError(f"{path}: table {i}: {number.path} is printed twice in {number.where}")
            numbers[key] = number
    numbers = list(numbers.values())
    for i, remark in enumerate(content.get("remarks", []), 1):
        add_remark(remark, content["sources"], numbers, f"{path}: remark {i}")
    check_sources(tuple(content.get("studies", {})), content["sources"], f"{path}: studies")
    index = defaultdict(list)
    for number in sorted(numbers, key=lambda number: BY.index(number.by)):
        index[number.protocol, number.dataset, number.method, number.column].append(number)
    seeds = {name: source["seeds"] for name, source in content["sources"].items()}
    return Published(numbers, dict(index), seeds, content.get("studies", {}), content.get("not_implemented", []))


def check_names(names, where: str) -> None:
    for name in names:
        if not isinstance(name, str):
            raise ValueError(f"{where}: names must be text, got {name!r:.60}")


def check_datasets(names, known: set[str], where: str) -> None:
    """Raises ValueError if `names` is no list of known datasets."""
    if not isinstance(names, list):
        raise ValueError(f"{where}: must be a list of datasets, got {names!r:.60}")
    check_names(names, where)
    check_one_of(tuple(names), sorted(known - {AVERAGE}), where)


def check_sources(names: tuple, sources: dict, where: str) -> None:
    for name in names:
        if name not in sources:
            raise ValueError(f"{where}: source {name!r} is not in sources: {', '.join(sources)}")


def numbers_of(table, content: dict, known: set[str], where: str) -> list[Number]:
    """Returns the numbers of a table. Raises ValueError for an invalid one."""
    required = [name for name in TABLE_FIELDS if name not in ("average", "shots")]
    check_fields(table, TABLE_FIELDS, where, required)
    check_sources((table["source"],), content["sources"], where)
    where = f"{where} ({table['source']}, {table['where']})"
    check_one_of((table["by"],), BY, f"{where}: by")
    check_one_of((table["protocol"],), PROTOCOLS, f"{where}: protocol")
    columns = [str(column) for column in table["columns"]]
    allowed = PROTOCOLS[table["protocol"]]
    if allowed is not None:
        check_one_of(columns, allowed, f"{where}: columns")
    if (allowed is None) == ("shots" in table) or (allowed is None and not all(map(str.isdigit, columns))):
        raise ValueError(f"{where}: numbers of shots must be the columns if few-shot, and otherwise in shots")
    average = table.get("average", [])
    if isinstance(average, str):
        check_one_of((average,), content.get("datasets", {}), f"{where}: average")
        average = content["datasets"][average]
    else:
        check_datasets(average, known, f"{where}: average")
    check_names(table["results"], f"{where}: results")
    numbers = []
    for method, datasets in table["results"].items():
        check_fields(datasets, {name: (list, float, int, type(None)) for name in known}, f"{where}: {method}")
        for dataset, values in datasets.items():
            values = values if isinstance(values, list) else [values]
            check_values(values, columns, dataset, average, f"{where}: {method}: {dataset}")
            for column, value in zip(columns, values, strict=True):
                if value is not None:
                    shots, kind = (column, ACCURACY) if allowed is None else (str(table["shots"]), column)
                    numbers.append(Number(
                        table["source"], table["where"], table["by"], content["sources"][table["source"]]["seeds"],
                        table["backbone"], table["protocol"], shots, dataset, method, kind, float(value),
                        frozenset(average) if dataset == AVERAGE else frozenset(),
                    ))  # fmt: skip
    return numbers


def check_values(values: list, columns: list[str], dataset: str, average: list, where: str) -> None:
    if len(values) != len(columns):
        raise ValueError(f"{where}: {len(values)} numbers for the columns {', '.join(columns)}")
    for value in values:
        if value is not None and (type(value) not in (int, float) or not 0 <= value <= 100):
            raise ValueError(f"{where}: numbers must be percentages or null, got {value!r}")
    if dataset == AVERAGE and not average:
        raise ValueError(f"{where}: say which datasets it is over (average)")


def add_remark(remark, sources: dict, numbers: list[Number], where: str) -> None:
    """Adds a remark to the numbers that it is about. Raises ValueError if it is about none of them."""
    check_fields(remark, REMARK_FIELDS, where, required=("source", "where", "text"))
    check_sources((remark["source"],), sources, where)
    for pattern in remark.get("numbers", []):
        matches = re.compile(fnmatch.translate(str(pattern))).match
        matching = [number for number in numbers if matches(number.path)]
        if not matching:
            raise ValueError(f"{where}: no number has the path {pattern!r}")
        for number in matching:
            number.remarks.append(f"{remark['source']}, {remark['where']}: {remark['text']}")

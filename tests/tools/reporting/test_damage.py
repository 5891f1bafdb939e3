"""Corrupted records and logs never stop a report, and do not affect valid runs."""

import json
import random

import pytest

from tests.tools.reporting.trees import numbers, report, write_log, write_record
from tools.reporting.files import write_files
from tools.reporting.text import print_report

INVALID = (None, True, -1, 1e400, float("nan"), "", "x", [], [None], {}, {"a": 1})


def value_paths(node, path=()):
    """Yields the path of every value in a JSON document."""
    if path:
        yield path
    children = ()
    if isinstance(node, dict):
        children = node.items()
    elif isinstance(node, list):
        children = enumerate(node)
    for key, child in children:
        yield from value_paths(child, (*path, key))


def replaced(document, path, value):
    """Returns a copy of the document with another value at the path."""
    copy = json.loads(json.dumps(document))
    node = copy
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return copy


@pytest.fixture
def tree(tmp_path):
    write_record(tmp_path / "good/seed1")
    write_record(tmp_path / "odd/seed2", seed=2, classes="new", source={})
    return tmp_path


def check(tree):
    """Asserts that the valid run is in its table, and that the other run is read or listed as corrupted."""
    result = report(tree)
    few_shot = next(table for table in result.tables if table.key.protocol == "fewshot")
    assert numbers(few_shot, "Digits", "CLIPFit")
    assert len(result.runs) == 2 or any(problem.category == "corrupted" for problem in result.problems)
    print_report(result)
    return result


def test_any_value_of_a_record_may_be_invalid(tree):
    path = tree / "odd/seed2/result.json"
    document = json.loads(path.read_text())
    rng = random.Random(0)
    for value_path in value_paths(document):
        for value in rng.sample(INVALID, 4):
            path.write_text(json.dumps(replaced(document, value_path, value)))
            result = check(tree)
            if value_path[0] in ("identity", "source", "settings") and value in (1e400, [None]):
                write_files(result, tree / "report")


def test_truncated_and_random_bytes(tree):
    rng = random.Random(1)
    record = tree / "odd/seed2/result.json"
    log = write_log(tree / "odd/log", "MaPLe", classes="new", model_dir="output/train_base/dtd/seed1") / "log.txt"
    for path in (record, log):
        good = path.read_bytes()
        for _ in range(60):
            bad = bytearray(good[: rng.randrange(len(good))] if rng.random() < 0.3 else good)
            for _ in range(rng.randrange(1, 20) if bad else 0):
                bad[rng.randrange(len(bad))] = rng.randrange(256)
            path.write_bytes(bad)
            report(tree)
        path.write_bytes(good)

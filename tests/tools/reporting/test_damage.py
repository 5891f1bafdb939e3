"""Whatever is in a folder, the report names it or reads it; it never stops, and good runs beside it count."""

import json
import random

import pytest

from tests.tools.reporting.trees import numbers, report, write_log, write_record
from tools.reporting.files import write_files
from tools.reporting.text import print_report

STRANGE = (None, True, -1, 1e400, float("nan"), "", "x", [], [None], {}, {"a": 1})


def places(node, path=()):
    """Paths to every value of a JSON document."""
    if path:
        yield path
    children = node.items() if isinstance(node, dict) else enumerate(node) if isinstance(node, list) else ()
    for key, child in children:
        yield from places(child, (*path, key))


def replaced(document, path, value):
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


def check(tree, out=None):
    result = report(tree)
    assert numbers(result.tables[[t.key.protocol for t in result.tables].index("fewshot")], "Digits", "CLIPFit")
    assert len(result.runs) == 2 or any(problem.kind == "damaged" for problem in result.problems)
    print_report(result)
    return result


def test_any_value_of_a_record_may_be_of_any_kind(tree):
    path = tree / "odd/seed2/result.json"
    document = json.loads(path.read_text())
    rng = random.Random(0)
    for place in places(document):
        for value in rng.sample(STRANGE, 4):
            path.write_text(json.dumps(replaced(document, place, value)))
            result = check(tree)
            if place[0] in ("identity", "source", "settings") and value in (1e400, [None]):
                write_files(result, tree / "report")


def test_cut_and_flipped_bytes(tree):
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

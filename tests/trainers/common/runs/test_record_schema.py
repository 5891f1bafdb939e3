"""The fields of result.json: earlier records are valid, invalid ones refused, and the docs list all fields."""

import copy
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.user_errors import raises_user_error
from trainers.common.runs import record_schema

ROOT = Path(__file__).resolve().parents[4]
EARLIER = sorted((ROOT / "tests" / "fixtures" / "earlier").glob("*/result.json"))


def example(fields=record_schema.FIELDS) -> dict:
    """The record of a finished evaluation with every field."""
    values = {str: "x", int: 1, float: 1.5, bool: True, list: ["x"], dict: {"x": 1}}
    record = {}
    for name, spec in fields.items():
        value = spec.choices[0] if spec.choices else values[spec.type]
        inner = example(spec.fields) if spec.fields else None
        record[name] = ([inner] if spec.type is list else inner) if inner else value
    return record


def changed(path: str, *value) -> dict:
    """The example with another value at a dotted path, or without a value there."""
    record = copy.deepcopy(example())
    *parents, last = path.split(".")
    node = record
    for name in parents:
        node = node[int(name)] if isinstance(node, list) else node[name]
    node.pop(last, None)
    if value:
        node[last] = value[0]
    return record


def paths(fields=record_schema.FIELDS, prefix=""):
    for name, spec in fields.items():
        yield prefix + name, spec
        yield from paths(spec.fields, f"{prefix}{name}.{'0.' if spec.type is list else ''}")


@pytest.mark.parametrize("path", EARLIER, ids=lambda path: path.parent.name)
def test_records_of_earlier_versions_are_read(path):
    record_schema.check(json.loads(path.read_text()))


def test_a_complete_record():
    record_schema.check(example(), complete=True)
    record_schema.check(changed("plugins"), complete=True)


@pytest.mark.parametrize("path, spec", list(paths()), ids=lambda value: value if isinstance(value, str) else "")
def test_every_field_is_checked(path, spec):
    shown = path.replace(".0.", "[].")
    wrong = "x" if spec.type is not str else 7
    for complete in (False, True):
        with raises_user_error(f"{shown} ", repr(wrong), record_schema.JSON_NAMES[spec.type]):
            record_schema.check(changed(path, wrong), complete)
    for invalid, strict, refused in (
        (changed(path), False, spec.required),
        (changed(path), True, spec.written != "maybe"),
        (changed(path, None), False, spec.required),
    ):
        if refused:
            with raises_user_error(f"{shown} ", "None"):
                record_schema.check(invalid, strict)
        else:
            record_schema.check(invalid, strict)


def test_fields_written_at_the_start():
    start = {name: value for name, value in example().items() if record_schema.FIELDS[name].written == "start"}
    record_schema.check({**start, "finished": False}, complete=True)
    with raises_user_error("train_seconds"):
        record_schema.check({**start, "finished": True}, complete=True)


@pytest.mark.parametrize(
    "record, facts",
    [([1, 2], ("[1, 2]",)), ({}, ("finished",)), (changed("classes", "old"), ("classes", "'base'", "'old'")),
     (changed("seed", True), ("seed", "True")), (changed("source", {}), None), (changed("new", 1), None)],
)  # fmt: skip
def test_invalid_records(record, facts):
    if facts is None:  # valid, as it may be of another version
        record_schema.check(record)
    else:
        with raises_user_error(*facts):
            record_schema.check(record)


def test_unexpected_fields_are_not_written():
    for path in ("new", "identity.new"):
        with raises_user_error(path):
            record_schema.check(changed(path, 1), complete=True)


@pytest.mark.parametrize(
    "key, counts",
    [("OPTIM.LR", True), ("TEST.FINAL_MODEL", True), ("TEST.SPLIT", False), ("DATALOADER.TEST.BATCH_SIZE", False),
     ("DATALOADER.TRAIN_X.BATCH_SIZE", True), ("OUTPUT_DIR", False), ("MODEL.BACKBONE.NAME", False)],
)  # fmt: skip
def test_keys_that_affect_training(key, counts):
    assert record_schema.counts(key) == counts


def test_the_page_lists_these_fields():
    """If the fields change, `python -m trainers.common.runs.record_schema` prints the new table."""
    assert record_schema.markdown_table() in (ROOT / "docs" / "experiments.md").read_text()


def test_without_torch():
    code = "import sys, trainers.common.runs.record; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0

"""Run directories near a folder that is none, and the programs whose errors name them."""

import os

import pytest

import parse_test_res
from tests.user_errors import assert_facts, assert_user_error, raises_user_error
from tools import report, show
from trainers.common.runs import nearby
from trainers.common.runs.finished import read_run


@pytest.fixture
def tree(tmp_path, monkeypatch):
    """Two experiments with two seeds each: out/dtd/A/seed1, ... The folder is the current one."""
    monkeypatch.chdir(tmp_path)
    for method in "AB":
        for seed in (1, 2):
            folder = tmp_path / "out" / "dtd" / method / f"seed{seed}"
            (folder / "clipfit" / "inner").mkdir(parents=True)
            (folder / "log.txt").write_text(f"Finish training\n* accuracy: {50 + seed}.00%\n")
    (tmp_path / "empty").mkdir()
    return tmp_path


def test_runs_below_are_the_nearest_first_and_bounded(tree, monkeypatch):
    (tree / "out" / "near").mkdir()
    (tree / "out" / "near" / "result.json").write_text("{}")
    os.symlink(tree / "out", tree / "out" / "loop")
    found = [str(path) for path in nearby.runs_below("out")]
    assert found[0] == "out/near" and len(found) == 5 and "out/dtd/B/seed2" in found
    monkeypatch.setattr(nearby, "MAX_FOLDERS", 1)
    assert [str(path) for path in nearby.runs_below("out")] == ["out/near"]


@pytest.mark.parametrize(
    "path, facts",
    [
        ("out", ("out/dtd/A/seed1", "out/dtd/A/seed2", "4")),
        ("out/dtd/A/seed1/clipfit/inner", ("out/dtd/A/seed1",)),
        ("out/dtd/A/seed1/clipfit", ("out/dtd/A/seed1",)),
        ("out/dtdd", ("out/dtd?",)),
    ],
)
def test_hints(tree, path, facts):
    assert_facts(nearby.hint(path), *facts)


@pytest.mark.parametrize("path", ["empty", "nowhere/at/all", "out/dtd/A/seed1"])
def test_no_hint(tree, path):
    assert nearby.hint(path) == ""


def test_programs_that_read_a_run_name_the_folders(tree, capsys):
    with raises_user_error("out/dtd", "out/dtd/A/seed1"):
        read_run("out/dtd")
    assert show.main(["out/dtd"]) == 1
    assert_user_error((1, capsys.readouterr().err), "out/dtd/A/seed1")
    assert report.main(["out/dtd/A/seed1/clipfit"]) == 1
    assert_user_error((1, capsys.readouterr().err), "out/dtd/A/seed1")


@pytest.mark.parametrize(
    "arguments, code, instead",
    [
        ("out", 1, "out/dtd --multi-exp"),
        ("out --multi-exp", 1, "out/dtd --multi-exp"),
        ("out/dtd", 1, "out/dtd --multi-exp"),
        ("out/dtd --multi-exp", 0, ""),
        ("out/dtd/A", 0, ""),
        ("out/dtd/A --multi-exp", 0, "out/dtd/A"),
        ("out/dtd/A/seed1", 0, ""),
        ("out/dtd/A/seed1 --multi-exp", 1, "out/dtd/A/seed1"),
        ("out/dtd/A/seed1/clipfit", 1, "out/dtd/A"),
        ("empty", 1, ""),
    ],
)
def test_parse_test_res_names_the_right_level(tree, capsys, arguments, code, instead):
    assert parse_test_res.main(arguments.split()) == code
    lines = capsys.readouterr().err.splitlines()
    expected = [f"python parse_test_res.py {instead}"] if instead else []
    assert [line.partition(": ")[2] for line in lines if "python" in line] == expected
    if instead:
        assert parse_test_res.main(instead.split()) == 0

"""A record or log of any content gets a line under "Corrupted", and never stops the report of the other runs."""

import json
import os
import random

import pytest

from tests.tools.reporting.trees import assert_problems, numbers, report, write_log, write_record
from tools import report as command

DEEP = '{"a":' * 100_000 + "1" + "}" * 100_000
METRICS = {"accuracy": 75.0, "error_rate": 25.0, "total": 120, "correct": 90}


def a_folder(path):
    path.mkdir()


def a_pipe(path):
    os.mkfifo(path)


def a_dangling_link(path):
    path.symlink_to(path.parent / "none")


def an_endless_device(path):
    path.symlink_to("/dev/zero")


def a_huge_file(path):
    with open(path, "wb") as file:
        file.truncate(2**40)


def random_bytes(path):
    path.write_bytes(random.Random(0).randbytes(5000))


ODD = [a_folder, a_pipe, a_dangling_link, an_endless_device, a_huge_file, random_bytes]


@pytest.mark.parametrize("name", ["result.json", "log.txt", "evaluation-Digits-all-test.json"])
@pytest.mark.parametrize("make", ODD)
def test_odd_files(tmp_path, capsys, name, make):
    write_record(tmp_path / "good/seed1")
    (tmp_path / "odd").mkdir()
    make(tmp_path / "odd" / name)
    result = report(tmp_path)
    assert numbers(result.tables[0], "Digits", "CLIPFit") == {"16": (80, 1)}
    assert_problems(result, ("corrupted", name))
    assert command.main([str(tmp_path), "--no-files"]) == 1
    assert f"{tmp_path}/odd/{name}: " in capsys.readouterr().out


@pytest.mark.parametrize("make", ODD)
def test_an_odd_log_and_a_valid_record(tmp_path, make):
    write_record(tmp_path / "seed1")
    make(tmp_path / "seed1/log.txt")
    result = report(tmp_path)
    assert numbers(result.tables[0], "Digits", "CLIPFit") == {"16": (80, 1)}
    assert_problems(result, ("corrupted", "log.txt"))


@pytest.mark.parametrize(
    "changes, facts",
    [
        ({"seed": "1"}, ["seed", "'1'"]),
        ({"shots": 16.0}, ["shots", "16.0"]),
        ({"finished": "yes"}, ["finished", "'yes'"]),
        ({"metrics": {"test": {"accuracy": -1}}}, ["metrics.test.accuracy", "-1"]),
        ({"metrics": {"test": {"accuracy": True}}}, ["metrics.test.accuracy", "True"]),
        ({"metrics": {"test": {**METRICS, "total": "120"}}}, ["metrics.test", "'120'"]),
        ({"metrics": {"test": {**METRICS, "total": -120, "correct": -90}}}, ["metrics.test", "-120"]),
        ({"metrics": {"test": {**METRICS, "total": 0, "correct": 0}}}, ["metrics.test", "0"]),
        ({"metrics": {"test": {**METRICS, "correct": 121}}}, ["metrics.test", "121", "120"]),
        ({"metrics": {"test": {**METRICS, "correct": 91}}}, ["metrics.test.accuracy", "75", "91", "120"]),
        ({"metrics": {"test": {**METRICS, "error_rate": 30.0}}}, ["error_rate", "75", "30.0"]),
        ({"metrics": {"test": {**METRICS, "error_rate": "x"}}}, ["error_rate", "'x'"]),
        ({"metrics": {"test": METRICS}, "content": {"test": {"images": 119, "digest": "aa"}}}, ["120", "119"]),
        ({"metrics": {"val": METRICS}}, ["metrics.test.accuracy", "None"]),
        (json.loads('{"settings": {"A": 1e999}}'), ["settings.A", "inf"]),
    ],
)
def test_numbers_that_contradict_each_other(tmp_path, changes, facts):
    write_record(tmp_path / "good/seed1")
    write_record(tmp_path / "bad/seed2", seed=2, changes=changes)
    result = report(tmp_path)
    assert numbers(result.tables[0], "Digits", "CLIPFit") == {"16": (80, 1)}
    assert_problems(result, ("corrupted", "result.json", *facts))


def test_numbers_that_agree(tmp_path):
    content = {"train_x": None, "val": None, "test": {"images": 3, "digest": "aa"}}
    metrics = {"accuracy": 100 / 3, "error_rate": 100 - 100 / 3, "total": 3, "correct": 1}
    write_record(tmp_path / "seed1", changes={"metrics": {"test": metrics}, "content": content})
    result = report(tmp_path)
    assert numbers(result.tables[0], "Digits", "CLIPFit") == {"16": (100 / 3, 1)} and not result.problems


def test_deep_json_and_invalid_texts(tmp_path, capsys):
    write_record(tmp_path / "good/seed1")
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep/result.json").write_text(DEEP)
    identity = {"trainer": "A\ud800\nB$x$|", "backbone": "micro", "fingerprint": "f", "precision": "fp32"}
    folder = os.fsencode(tmp_path) + b"/odd\xff\x1b[31m|*<b>"
    os.mkdir(folder)
    record = {**json.loads((tmp_path / "good/seed1/result.json").read_text()), "identity": identity}
    with open(folder + b"/result.json", "w") as file:
        json.dump(record, file)
    assert command.main([str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "\\ud800\\nB" in out and "\x1b" not in out
    assert "\x1b" not in (tmp_path / "report/report.md").read_text()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_what_may_not_be_read(tmp_path):
    write_record(tmp_path / "good/seed1")
    write_record(tmp_path / "folder/seed2", seed=2)
    record = write_record(tmp_path / "file/seed3", seed=3) / "result.json"
    (tmp_path / "folder").chmod(0)
    record.chmod(0)
    result = report(tmp_path)
    (tmp_path / "folder").chmod(0o700)
    assert numbers(result.tables[0], "Digits", "CLIPFit") == {"16": (80, 1)}
    assert_problems(result, ("corrupted", "folder", "Permission"), ("corrupted", "result.json", "Permission"))


def test_folders_that_cannot_be_listed(tmp_path, monkeypatch):
    """As above, for tests that root runs."""
    write_record(tmp_path / "good/seed1")
    (tmp_path / "secret").mkdir()
    scandir = os.scandir

    def refuse(path):
        if str(path).endswith("secret"):
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    assert_problems(report(tmp_path), ("corrupted", "secret", "Permission"))


def test_the_log_of_the_run_is_compared_with_the_record(tmp_path):
    common = {"dataset": "DescribableTextures", "backbone": "ViT-B/16", "method": "CoOp"}
    keys = {"OPTIM.MAX_EPOCH": 50}
    for seed, correct in ((1, 80), (2, 71)):
        write_record(tmp_path / f"seed{seed}", seed=seed, accuracy=80.0, **common, **keys)
        write_log(tmp_path / f"seed{seed}", seed=seed, classes="all", correct=correct)
    write_log(tmp_path / "seed1", classes="new", correct=10, model_dir="x", name="log.txt-2026-03-01-00-00-00")
    result = report(tmp_path)
    corrupted = [problem for problem in result.problems if problem.category == "corrupted"]
    ((subject, message),) = [(problem.subject, problem.message) for problem in corrupted]
    assert subject == str(tmp_path / "seed2") and "80.00" in message and "71.00" in message
    write_log(tmp_path / "seed2", seed=2, classes="all", correct=80, name="log.txt-2026-03-01-00-00-00")
    result = report(tmp_path)  # the newest log with these settings is the one of the record
    assert not any(problem.category == "corrupted" for problem in result.problems)

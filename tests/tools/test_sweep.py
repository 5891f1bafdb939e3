"""tools/sweep.py: a killed and resumed sweep gives the results of an uninterrupted one; commands; user errors."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from contextlib import redirect_stdout

import pytest

from tests.fork_server import python
from tests.scripts.commands import run
from tests.trainers.test_pairs import write_captions
from tests.user_errors import assert_user_error
from tools import report, sweep
from tools.sweeping import console
from tools.sweeping.plan import plan
from tools.sweeping.state import metric_name

OF_A_PROCESS = {
    "git", "command", "started", "train_seconds", "test_seconds", "peak_memory_mb", "written", "digest", "weights",
}  # fmt: skip
KEYS = ("--", "OPTIM.MAX_EPOCH", "2", "DATALOADER.NUM_WORKERS", "0")


def records(folder):
    """Returns run directory -> run record, for all runs in a folder."""
    paths = folder.glob("**/result.json")
    return {str(path.parent.relative_to(folder)): json.loads(path.read_text()) for path in paths}


def finished(folder):
    return {name for name, record in records(folder).items() if record["finished"]}


def same_in_all_processes(record):
    """Returns the fields of a run record that are the same in every run of a command, to the last bit."""
    if record["trust"]["zero_shot"]:
        record["trust"]["zero_shot"].pop("stored")
    return {key: value for key, value in record.items() if key not in OF_A_PROCESS}


def test_a_killed_sweep_is_resumed(tmp_path, digits_root, monkeypatch, capsys):
    argv = ["fewshot", "--methods", "ZeroshotCLIP", "CLIPFit", "CoOp", "--seeds", "1", "2", "--shots", "1"]
    argv += ["--root", str(digits_root), "--output"]
    for job in plan(sweep.parse_args([*argv, str(tmp_path / "uninterrupted"), *KEYS])):
        run(job.argv, monkeypatch)

    killed = tmp_path / "killed"
    command = [python(), "tools/sweep.py", *argv, str(killed), "--jobs", "1", *KEYS]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (2 <= len(finished(killed)) < len(list(killed.glob("**/console.log")))):
        assert first.poll() is None
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)  # its third job keeps running
    first.wait()
    before = finished(killed)
    assert 2 <= len(before) < 6
    kept = {name: (killed / name / "result.json").read_bytes() for name in before}
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert re.search(r"^6 of 6 jobs", second.stdout, re.M) and "accuracy in %" in second.stdout
    assert all((killed / name / "result.json").read_bytes() == content for name, content in kept.items())

    uninterrupted, resumed = records(tmp_path / "uninterrupted"), records(killed)
    assert len(uninterrupted) == 6 and uninterrupted.keys() == resumed.keys() == finished(killed)
    for name, result in uninterrupted.items():
        assert same_in_all_processes(result) == same_in_all_processes(resumed[name])
        assert result["weights"].items() <= resumed[name]["weights"].items()  # digests of tensors; more checkpoints
    texts = []
    for folder in (tmp_path / "uninterrupted", killed):
        capsys.readouterr()
        assert report.main([str(folder), "--no-files"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and "CLIPFit" in texts[0]


def test_retrieval_by_the_number_of_training_images(tmp_path, monkeypatch, capsys):
    write_captions(tmp_path)
    argv = ["retrieval", "--methods", "CLIPFit", "ZeroshotCLIP", "--shots", "4", "all", "--seeds", "1", "2"]
    argv += ["--backbone", "micro", "--root", str(tmp_path), "--output", str(tmp_path / "out"), *KEYS]
    for job in plan(sweep.parse_args([*argv, "DATASET.CAPTIONS.FILE", "captions.csv"])):
        job.output.mkdir(parents=True)
        with console.start_attempt(job.output, job.argv) as file, redirect_stdout(file):
            metrics = run(job.argv, monkeypatch)["metrics"]["test"]
        assert console.result(job.output, metric_name(job)) == f"mean recall {metrics['mean_recall']:.2f}%"
    assert len(finished(tmp_path / "out")) == 8
    capsys.readouterr()
    assert report.main([str(tmp_path / "out"), "--no-files"]) == 0
    out = capsys.readouterr().out
    assert "mean recall instead of accuracy" in out and "runs.csv" not in out
    (row,) = [line for line in out.splitlines() if line.split()[:1] == ["CLIPFit"]]
    assert row.count("\u00b1") == 2 and row.endswith("  micro_pairs, MAX_EPOCH 2"), (
        "compared with the recipe of the protocol"
    )


def test_commands(tmp_path, capsys):
    argv = ["base2new", "--methods", "CoOp", "--datasets", "dtd", "--seeds", "3", "--output", str(tmp_path / "out")]
    assert sweep.main([*argv, "--commands"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.startswith(f"{sys.executable} train.py --root data ") for line in lines)
    assert not (tmp_path / "out").exists()


def test_relative_paths_of_another_working_directory(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sweep.main(["fewshot", "--root", "d", "--datasets", "folder=x/y", "--output", "o", "--commands"]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert f"--root {tmp_path}/x/y " in line and f"--output-dir {tmp_path}/o/y/" in line


@pytest.mark.parametrize(
    "argv, facts",
    [
        (["base2new", "--methods", "Adaptor"], ("'Adaptor'", "ZeroshotCLIP")),
        (["base2new", "--", "TRAINER.CLIPFIT.BETTA", "2"], ("TRAINER.CLIPFIT.BETTA", "TRAINER.CLIPFIT.BETA")),
        (["base2new", "--", "OPTIM.LR"], ("KEY VALUE", "OPTIM.LR")),
    ],
)
def test_user_errors(argv, facts, tmp_path, capsys):
    code = sweep.main([argv[0], "--output", str(tmp_path), *argv[1:]])
    assert_user_error((code, capsys.readouterr().err), *facts)


USAGE_ERRORS = (
    ["base2old"], [], ["fewshot", "--jobs", "0"], ["fewshot", "--seeds", "one"], ["fewshot", "--log", "--jobs", "2"],
    ["fewshot", "--log", "--slurm"],
)  # fmt: skip


@pytest.mark.parametrize("argv", USAGE_ERRORS)
def test_usage_errors(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        sweep.parse_args(argv)
    assert stop.value.code == 2 and "error: " in capsys.readouterr().err


def test_a_missing_folder_of_a_target_is_found_before_training(tmp_path, capsys):
    argv = ["cross_dataset", "--datasets", "digits", "--targets", f"folder={tmp_path / 'none'}", "--seeds", "1"]
    assert sweep.main([*argv, "--output", str(tmp_path / "out")]) == 1
    assert_user_error((1, capsys.readouterr().err), "--targets", str(tmp_path / "none"))
    assert not list((tmp_path / "out").rglob("console.log"))

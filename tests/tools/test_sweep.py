"""A sweep over three methods, two seeds and the digits, killed in the middle, ends as an unbroken one does."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.scripts.commands import run
from tests.trainers.conftest import digits_root  # noqa: F401  (fixture)
from tools import report, sweep
from tools.sweeping.plan import plan

KEYS = ("--", "OPTIM.MAX_EPOCH", "2", "DATALOADER.NUM_WORKERS", "0")


def records(folder):
    found = folder.glob("**/result.json")
    return {str(path.parent.relative_to(folder)): json.loads(path.read_text()) for path in found}


def finished(folder):
    return {name for name, record in records(folder).items() if record["finished"]}


def test_killed_and_started_again(tmp_path, digits_root, monkeypatch, capsys):  # noqa: F811
    argv = ["fewshot", "--methods", "ZeroshotCLIP", "CLIPFit", "CoOp", "--seeds", "1", "2", "--shots", "1"]
    argv += ["--root", str(digits_root), "--output"]
    for job in plan(sweep.parse_args([*argv, str(tmp_path / "whole"), *KEYS])):
        run(job.argv, monkeypatch)

    broken = tmp_path / "broken"
    command = [sys.executable, "tools/sweep.py", *argv, str(broken), "--jobs", "1", *KEYS]
    first = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    while not (2 <= len(finished(broken)) < len(list(broken.glob("**/console.log")))):
        assert first.poll() is None
        time.sleep(0.1)
    os.kill(first.pid, signal.SIGKILL)  # its third job goes on
    first.wait()
    before = finished(broken)
    assert 2 <= len(before) < 6
    kept = {name: (broken / name / "result.json").read_bytes() for name in before}
    second = subprocess.run(command, capture_output=True, text=True)
    assert second.returncode == 0, second.stderr
    assert "6 of 6 jobs are finished" in second.stdout and "accuracy in %" in second.stdout
    assert all((broken / name / "result.json").read_bytes() == content for name, content in kept.items())

    whole, mended = records(tmp_path / "whole"), records(broken)
    assert len(whole) == 6 and whole.keys() == mended.keys() == finished(broken)
    for name, result in whole.items():
        assert mended[name]["metrics"] == result["metrics"] and mended[name]["settings"] == result["settings"]
    texts = []
    for folder in (tmp_path / "whole", broken):
        capsys.readouterr()
        assert report.main([str(folder), "--no-files"]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1] and "CLIPFit" in texts[0]


def test_commands(tmp_path, capsys):
    argv = ["base2new", "--methods", "CoOp", "--datasets", "dtd", "--seeds", "3", "--output", str(tmp_path / "out")]
    assert sweep.main([*argv, "--commands"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.startswith(f"{sys.executable} train.py --root data ") for line in lines)
    assert not (tmp_path / "out").exists()


def test_paths_from_another_folder(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert sweep.main(["fewshot", "--root", "d", "--datasets", "folder=x/y", "--output", "o", "--commands"]) == 0
    line = capsys.readouterr().out.splitlines()[0]
    assert f"--root {tmp_path}/x/y " in line and f"--output-dir {tmp_path}/o/folder/" in line


@pytest.mark.parametrize(
    "argv, message",
    [
        (["base2new", "--methods", "Adapter"], "error: unknown method 'Adapter'; there are: ZeroshotCLIP"),
        (["base2new", "--", "TRAINER.CLIPFIT.BETTA", "2"], "error: command line: unknown config key TRAINER.CLIP"),
        (["base2new", "--", "OPTIM.LR"], "error: trailing options come as KEY VALUE pairs"),
    ],
)
def test_mistakes(argv, message, tmp_path, capsys):
    assert sweep.main([*argv, "--output", str(tmp_path)] if "--" not in argv else argv) == 1
    err = capsys.readouterr().err
    assert err.startswith(message) and len(err.splitlines()) == 1


WRONG = (
    ["base2old"], [], ["fewshot", "--jobs", "0"], ["fewshot", "--seeds", "one"], ["fewshot", "--log", "--jobs", "2"],
    ["fewshot", "--log", "--slurm"],
)  # fmt: skip


@pytest.mark.parametrize("argv", WRONG)
def test_wrong_arguments(argv, capsys):
    with pytest.raises(SystemExit) as stop:
        sweep.parse_args(argv)
    assert stop.value.code == 2 and "error: " in capsys.readouterr().err

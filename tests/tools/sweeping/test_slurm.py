"""SLURM: what is submitted, with stand-ins for its commands; and the real thing on submitit's local executor."""

import os
import pickle
import time

import pytest

from tests.trainers.conftest import digits_root  # noqa: F401  (fixture)
from tools import sweep
from tools.sweeping import slurm, state

submitit = pytest.importorskip("submitit", reason="needs requirements-optional.txt")
ARGV = ("base2new", "--methods", "CLIPFit", "CoOp", "--seeds", "1", "2")


@pytest.fixture
def commands(tmp_path, monkeypatch):
    """sbatch keeps what it is given in `batch.sh` and says it is job 77; squeue prints the file `queue`."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, text in (
        ("srun", ""),
        ("sbatch", f"cp $1 {folder}/batch.sh; echo Submitted batch job 77"),
        ("squeue", f"cat {folder}/queue"),
    ):
        (folder / name).write_text(f"#!/bin/sh\n{text}\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return folder


def test_an_array_of_trainings_with_their_evaluations(world, commands, capsys):
    options = ("--slurm", "partition=gpu", "timeout_min=90", "--jobs", "3")
    assert world.run(*ARGV, *options) == 0
    script = (commands / "batch.sh").read_text()
    for line in ("--array=0-3%3", "--partition=gpu", "--time=90", "--gpus-per-node=1", "--cpus-per-task=8"):
        assert f"#SBATCH {line}\n" in script
    out = capsys.readouterr().out
    assert "Submitted 77: 8 jobs, tasks: 4, at most 3 at a time; " in out and not world.reports

    (commands / "queue").write_text("77_0\n77_1\n77_2\n77_3\n12\n")
    assert world.run(*ARGV, *options) == 0  # nothing is submitted twice
    assert "8 jobs: 8 queued on SLURM" in capsys.readouterr().out and world.calls() == []

    for task in range(3):  # what SLURM would run
        submitted = next((world.out / ".slurm").glob(f"*/77_{task}_submitted.pkl"))
        pickle.loads(submitted.read_bytes()).result()
    assert len(world.calls()) == 6 and world.calls()[1].startswith("test_new/")
    (commands / "queue").write_text("77_3\n")
    capsys.readouterr()
    world.run(*ARGV, *options, "--dry-run")
    assert "8 jobs: 6 finished, 2 queued on SLURM" in capsys.readouterr().out
    (commands / "queue").write_text("")
    world.run(*ARGV, *options, "--dry-run")  # it has left the queue without a result
    assert "8 jobs: 6 finished, 2 to run" in capsys.readouterr().out
    assert world.run(*ARGV) == 0 and world.run(*ARGV, *options) == 0
    assert len(world.reports) == 2 and len(world.calls()) == 8


def test_a_task_that_fails_says_what(world, commands):
    world.orders["train_base"] = {"error": "error: no folder /data"}
    assert world.run(*ARGV[:3], "--seeds", "1", "--slurm") == 0
    submitted = next((world.out / ".slurm").glob("*/*_submitted.pkl"))
    with pytest.raises(RuntimeError, match="digits base.*: failed no folder /data; .*digits new.*: left its tr"):
        pickle.loads(submitted.read_bytes()).result()


def test_tasks():
    chains = [[1, 2], [3], [4, 5, 6]]
    assert slurm.pack(chains) == chains and slurm.pack([]) == []
    packed = slurm.pack([[i, -i] for i in range(1, 2501)])
    assert len(packed) == slurm.MOST_TASKS and sum(map(len, packed)) == 5000
    assert packed[0] == [1, -1, 1001, -1001, 2001, -2001]


@pytest.mark.parametrize(
    "options, message",
    [
        (("partition",), "--slurm takes KEY=VALUE, such as partition=gpu, got 'partition'"),
        (("cluster=pbs",), "--slurm: AutoExecutor doesn't know any executor named pbs"),
        (("gpu=1",), "gpu"),
    ],
)
def test_mistakes(world, commands, options, message):
    with pytest.raises(ValueError, match=message):
        world.run("base2new", "--seeds", "1", "--slurm", *options)
    assert not (world.out / ".slurm" / slurm.SUBMITTED).exists()


def test_without_slurm(world, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with pytest.raises(ValueError, match="--slurm: Could not detect .srun."):
        world.run("base2new", "--seeds", "1", "--slurm")


def test_for_real_on_the_local_executor(tmp_path, digits_root, capsys):  # noqa: F811
    argv = ["fewshot", "--methods", "ZeroshotCLIP", "--seeds", "1", "--shots", "1", "--root", str(digits_root)]
    argv += ["--output", str(tmp_path / "out"), "--slurm", "cluster=local", "gpus_per_node=0", "cpus_per_task=1"]
    assert sweep.main(argv) == 0
    folder = tmp_path / "out/digits/shots_1/ZeroshotCLIP/micro/seed1"
    deadline = time.time() + 300
    while time.time() < deadline and (state.busy(folder) or not (folder / "result.json").exists()):
        time.sleep(0.5)
    capsys.readouterr()
    assert sweep.main([*argv, "--dry-run"]) == 0
    assert "1 jobs: 1 finished" in capsys.readouterr().out

"""`kill -9` of tools/reproduce.py and of its jobs: the same command continues, and its page is the same."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tools import reproduce, sweep
from tools.sweeping import local
from trainers.common.runs.checkpoint_file import POINTER

STUDY = """mine:
  title: T
  protocol: fewshot
  show: [averages, gradients]
  rows:
    all: {}
    most changed: {keys: {TRAINER.CLIPFIT.TUNE: {most_changed: image_layernorm, count: 2, run: all}}}
"""
EPOCHS = "40"  # a second of training, with a checkpoint at every fourth epoch


def descendants(pid: int) -> list[int]:
    """Returns the children of a process, their children and so on."""
    try:
        children = [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
    except OSError:
        return []
    return children + [other for child in children for other in descendants(child)]


def kill_group(pid: int) -> None:
    """Kills the process group that `pid` leads."""
    assert os.getpgid(pid) == pid != os.getpgid(0)
    os.killpg(pid, signal.SIGKILL)


def kill_in_training(argv, output) -> None:
    """Starts the program and kills it, and then its jobs, as soon as one of them has written a checkpoint."""
    before = set(output.rglob(POINTER))
    program = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True)
    deadline = time.monotonic() + 300
    while set(output.rglob(POINTER)) == before:
        if program.poll() is not None or time.monotonic() > deadline:
            program.terminate()  # it stops its jobs
            pytest.fail("no checkpoint was written")
        time.sleep(0.01)
    os.kill(program.pid, signal.SIGSTOP)  # it starts no other job
    others = descendants(program.pid)  # jobs, and the process they are forked from: see sweeping/launch.py
    assert others
    kill_group(program.pid)
    for pid in others:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    program.wait()


def files(folder):
    return {path.relative_to(folder): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_the_page_is_that_of_an_unbroken_run(in_process, data, tmp_path, monkeypatch):
    (tmp_path / "mine.yaml").write_text(STUDY)
    argv = ["mine", "--rehearse", "--studies", str(tmp_path / "mine.yaml"), "--datasets", "digits", "--shots", "1"]
    keys = ["--", "OPTIM.MAX_EPOCH", EPOCHS]
    one, two = tmp_path / "one", tmp_path / "two"
    assert in_process(*argv, "--output", str(one), *keys)[0] == 0  # also writes the images

    _, (first,) = in_process(*argv, "--output", str(two), *keys, limit=1)
    record = (first / "result.json").read_bytes()
    command = [*argv, "--root", str(data), "--output", str(two), *keys]
    kill_in_training([sys.executable, str(sweep.ROOT / "tools/reproduce.py"), *command], two)
    assert not (two / "studies").exists()
    (log,) = two.rglob("console.log")  # of the second run
    assert "== ended" not in log.read_text()

    monkeypatch.setattr(sweep, "Runner", local.Runner)  # the real one, with processes
    assert reproduce.main(command) == 0
    assert log.read_text().count("== started") == 2 and "Resuming after epoch" in log.read_text()
    assert (first / "result.json").read_bytes() == record  # not trained again
    assert files(one / "studies") == files(two / "studies")

"""Studies on SLURM, with fake sbatch and squeue commands: rows that follow from other runs are submitted after them."""

import csv

import pytest

from tests.tools.slurm_commands import commands, run_submitted  # noqa: F401  (fixture)
from tools.sweeping import slurm

from .conftest import Runner

pytest.importorskip("submitit", reason="needs requirements-optional.txt")
STUDY = """mine:
  title: T
  protocol: fewshot
  rows:
    most changed: {keys: {TRAINER.CLIPFIT.TUNE: {most_changed: image_layernorm, count: 1, run: all}}}
    all: {}
"""


def test_a_row_that_follows_is_submitted_after_the_run_it_follows_from(
    in_process, commands, tmp_path, monkeypatch, capsys  # noqa: F811
):  # fmt: skip
    monkeypatch.setattr(slurm, "Runner", Runner)  # the tasks run in this process
    (tmp_path / "mine.yaml").write_text(STUDY)
    out = tmp_path / "out"
    argv = ["mine", "--rehearse", "--studies", str(tmp_path / "mine.yaml"), "--datasets", "digits", "--shots", "1"]
    argv += ["--output", str(out), "--slurm", "partition=gpu"]
    keys = ("--", "OPTIM.MAX_EPOCH", "1")

    (commands / "queue").write_text("")
    assert in_process(*argv, *keys)[0] == 0
    printed = capsys.readouterr()
    assert "1 jobs in 1 tasks" in printed.out
    assert "1 more jobs follow" in printed.err and "the same command submits them" in printed.err
    (commands / "queue").write_text("77_0\n77\n")
    assert in_process(*argv, *keys)[0] == 0  # still in the queue
    printed = capsys.readouterr()
    assert "Submitted" not in printed.out and "the same command submits them" in printed.err
    assert run_submitted(out) == 1
    (commands / "queue").write_text("")
    assert in_process(*argv, *keys)[0] == 0
    printed = capsys.readouterr()
    assert "1 jobs in 1 tasks" in printed.out and "follow" not in printed.err
    assert not (out / "studies").exists()
    assert run_submitted(out) == 1
    assert in_process(*argv, *keys)[0] == 0
    assert "Submitted" not in capsys.readouterr().out
    rows = list(csv.DictReader(open(out / "studies/tables/mine.csv")))
    assert {row["row"] for row in rows if row["1"]} == {"most changed", "all"}

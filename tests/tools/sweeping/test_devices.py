"""--gpus-per-job: jobs that several processes share, and jobs that share GPUs."""

import json

import pytest

from tests.user_errors import assert_facts, raises_user_error
from tools import sweep
from tools.sweeping import console, cost, local
from tools.sweeping.devices import GPUS, environments
from tools.sweeping.process import command

from .test_run import finished_jobs, line_with

ONE = ("fewshot", "--shots", "1", "--seeds", "1")
RUN = "digits/shots_1/CLIPFit/micro_ep100/seed"


@pytest.fixture
def slots(args, monkeypatch):
    """slots(*options): environment variables of the jobs that run at a time, on a machine with 8 cores and no GPU."""
    monkeypatch.delenv(GPUS, raising=False)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.setattr("os.sched_getaffinity", lambda pid: range(8))

    def environments_of(*options, backbone="ViT-B/16"):
        parsed = args(*ONE, *options)
        parsed.gpus_per_job = parsed.gpus_per_job or 1
        return environments(parsed, {None: {"backbone": backbone}})

    return environments_of


def test_jobs_are_spread_over_groups_of_gpus(slots, capsys):
    four = ("--gpus", "0", "1", "2", "3")
    assert [slot[GPUS] for slot in slots(*four)] == ["0", "1", "2", "3"]
    assert [slot[GPUS] for slot in slots(*four, "--gpus-per-job", "2")] == ["0,1", "2,3"]
    found = slots(*four, "--gpus-per-job", "2", "--jobs", "4")
    assert [slot[GPUS] for slot in found] == ["0,1", "2,3", "0,1", "2,3"]
    assert {slot["OMP_NUM_THREADS"] for slot in found} == {"1"}  # 8 cores for 4 jobs with 2 processes each
    assert [slot[GPUS] for slot in slots("--gpus", "0", "--jobs", "3")] == ["0", "0", "0"]
    assert not capsys.readouterr().out
    assert [slot[GPUS] for slot in slots(*four, "--gpus-per-job", "3")] == ["0,1,2"]
    assert_facts(capsys.readouterr().out, "GPU 3", "groups of 3")
    with raises_user_error("--gpus-per-job 5", "4 (0, 1, 2, 3)", error=ValueError):
        slots(*four, "--gpus-per-job", "5")


def test_processes_on_the_cpu(slots, monkeypatch):
    assert slots("--gpus-per-job", "2") == [{"OMP_NUM_THREADS": "4"}]
    monkeypatch.setenv(GPUS, "-1")
    assert slots("--gpus-per-job", "2", backbone="micro") == [{"OMP_NUM_THREADS": "1"}] * 4
    assert slots("--gpus-per-job", "2", "--jobs", "3", backbone="micro") == [{"OMP_NUM_THREADS": "1"}] * 3


def test_a_free_slot_on_the_least_used_gpu_is_first():
    runner = local.Runner([], {}, [{GPUS: gpu} for gpu in ("0", "1", "0", "1")], cost.Costs({}))
    assert runner.free_slots() == [0, 1, 2, 3]
    for running, order in (([2], [1, 0, 3]), ([0, 2], [1, 3]), ([1, 2], [0, 3])):
        runner.slots = [(slot, running.count(i) or None) for i, (slot, _) in enumerate(runner.slots)]
        assert runner.free_slots() == order


def test_commands_and_mistakes(sandbox, args, capsys):
    assert sandbox.run(*ONE, "--gpus-per-job", "2", "--commands") == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert_facts(line, "torch.distributed.run --standalone --nproc-per-node 2", command()[-1], "--seed 1")
    with pytest.raises(SystemExit):
        args(*ONE, "--gpus-per-job", "0")
    assert_facts(capsys.readouterr().err.splitlines()[-1], "--gpus-per-job", "got 0")


def test_two_jobs_of_two_processes_at_a_time(sandbox, capsys):
    """Each job has its own port and GPUs; failures are named as those of ordinary jobs."""
    sandbox.orders.update({f"{RUN}1": {"seconds": 1}, f"{RUN}2": {"error": "error: no folder"}, f"{RUN}3": {"kill": 9}})
    options = ("--gpus", "3", "5", "7", "8", "--gpus-per-job", "2")
    assert sandbox.run(*ONE, "2", "3", *options) == 1
    assert sorted(sandbox.calls()) == [f"{RUN}{seed}" for seed in (1, 2, 3)]
    for file in ("calls", "others"):
        lines = [line.split() for line in (sandbox.control / file).read_text().splitlines()]
        assert len(lines) == 3 and {gpus for _, gpus, _ in lines[:2]} == {"3,5", "7,8"}
    out = capsys.readouterr().out
    assert_facts(line_with(out, "3 jobs: "), "2 at a time", "2 GPUs")
    counts, (second, _, third, _) = finished_jobs(out)
    assert counts == (1, 3)
    assert_facts(second, "failed", "seed 2", "no folder")
    assert_facts(third, "failed", "seed 3", console.SIGNALS[-9])


def test_a_real_run_in_two_processes(tmp_path, digits_root, monkeypatch):
    monkeypatch.setattr("tools.sweeping.summary.report", lambda arguments: None)
    argv = [*ONE, "--root", str(digits_root), "--output", str(tmp_path), "--gpus-per-job", "2"]
    assert sweep.main([*argv, "--", "OPTIM.MAX_EPOCH", "1", "USE_CUDA", "False"]) == 0
    record = json.loads((tmp_path / f"{RUN}1" / "result.json").read_text())
    assert record["finished"] and record["processes"] == 2


def test_estimates_are_from_runs_with_as_many_processes(sandbox, args):
    sandbox.run(*ONE)
    for processes, number in ((1, 1), (2, 0)):
        costs = cost.Costs({})
        costs.read_records(sandbox.out, processes=processes)
        assert len(costs.recorded) == number

"""Running jobs with fake_train.py: order, failures, several at a time, skipped, interrupted and resumed jobs."""

import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import threading
import time

import pytest

from runtime.fork_server import IS_POSSIBLE
from tests.user_errors import assert_facts
from tools.sweeping import console, cost, local, locks, state, summary
from tools.sweeping.follow import Follower
from tools.sweeping.launch import FALL_BACK, Launcher
from tools.sweeping.plan import plan

from .conftest import FAKE_TRAIN, job_counts, record_of

TWO = ("base2new", "--methods", "CLIPFit", "CoOp", "--seeds", "1", "2")


def short(path):
    """Shortens a run directory to train_base/CLIPFit/seed1."""
    parts = path.split("/")
    return "/".join([parts[0], *parts[-3::2]])


def line_with(text, start):
    """Returns the only line of a text that starts with `start`."""
    (line,) = [line for line in text.splitlines() if line.startswith(start)]
    return line


def finished_jobs(text):
    """Returns (finished, all) from the line "5 of 8 jobs are finished", and the lines after it."""
    match = re.search(r"^(\d+) of (\d+) jobs.*\n", text, re.M)
    return (int(match[1]), int(match[2])), text[match.end() :].splitlines()


def test_all_jobs_run_in_order_and_the_report_follows(sandbox, capsys):
    assert sandbox.run(*TWO, "--jobs", "1") == 0
    order = itertools.product((1, 2), ("CLIPFit", "CoOp"), ("train_base", "test_new"))
    assert [short(path) for path in sandbox.calls()] == [f"{part}/{method}/seed{seed}" for seed, method, part in order]
    assert sandbox.reports == [[str(sandbox.out)]]
    out = capsys.readouterr().out
    assert job_counts(out) == {"run": 8} and finished_jobs(out) == ((8, 8), [])
    assert "; 1 at a time" in line_with(out, "8 jobs: ")
    assert_facts(line_with(out, "[8/8] "), "CoOp on digits new", "16 shots", "seed 2", "50.00%", "0:00:00")
    left = [path.name for path in sandbox.out.glob("train_base/**/model.pth.tar-*")]
    assert left == ["model.pth.tar-10"] * 4  # intermediate checkpoints are removed
    assert sandbox.run(*TWO, "--jobs", "1") == 0
    assert len(sandbox.calls()) == 8 and job_counts(capsys.readouterr().out) == {"finished": 8}


def test_the_log_of_one_job_at_a_time(sandbox, capsys):
    sandbox.orders["train_base"] = {"seconds": 1}
    assert sandbox.run(*TWO[:3], "--seeds", "1", "2", "--log") == 0
    out = capsys.readouterr().out
    assert "; 1 at a time" in out
    titles = [f"== CLIPFit on digits {part}, 16 shots, seed {seed}" for seed in (1, 2) for part in ("base", "new")]
    positions = [out.index(f"{title}\n") for title in titles]
    assert positions == sorted(positions)
    first = out[positions[0] : positions[1]]
    epochs = [f"epoch [{n}/10] batch" for n in range(1, 11)]
    assert [first.count(epoch) for epoch in epochs] == [1] * 10  # complete and without duplicates
    assert first.index(epochs[9]) < first.index("* accuracy: 50.00%") < first.index("[1/4] ")


def test_a_follower_copies_new_text(tmp_path, capsys):
    (tmp_path / console.FILE).write_text("earlier\n")
    follower = Follower(tmp_path)
    follower.copy()
    with open(tmp_path / console.FILE, "ab") as file:
        for part in (b"a", "\u00e4".encode()[:1], "\u00e4".encode()[1:] + b"b\xff"):
            file.write(part)
            file.flush()
            follower.copy()
    assert capsys.readouterr().out == "a\u00e4b\ufffd"
    Follower(tmp_path / "none").copy()


def test_table_of_the_finished_jobs(sandbox, capsys):
    sandbox.orders["test_new/digits/shots_16/CLIPFit/micro_ep100/seed2"] = {"error": "error: no"}
    assert sandbox.run(*TWO[:3], "--seeds", "1", "2", "--table") == 1
    run = "digits/shots_16/CLIPFit/micro_ep100/seed"
    trained, tested = (str(sandbox.out / f"{part}/{run}") for part in ("train_base", "test_new"))
    runs = [f"{trained}1", f"{tested}1", f"{trained}2"]  # without the failed job
    assert sandbox.reports == [["--no-files", "--protocol", "base2new", "--", *runs]]
    sandbox.orders[""] = {"error": "error: no"}
    assert sandbox.run("domain_shift", "--datasets", "digits", "--targets", "folder", "--seeds", "1", "--table") == 1
    assert len(sandbox.reports) == 1  # no report, because no job is finished


def test_settings_are_printed(sandbox, capsys):
    argv = ("fewshot", "--methods", "CoOp", "CLIPFit", "--datasets", "dtd", "eurosat", "sun397", "--shots", "1", "4")
    assert sandbox.run(*argv, "--seeds", "1", "--dry-run") == 0
    out = capsys.readouterr().out
    folder = "configs/trainers"
    expected = {  # start of the line: facts in its rest
        "CLIPFit on dtd, sun397, 1, 4 shots: ": (f"{folder}/CLIPFit/vit_b16_ep100.yaml", "TRAINER.CLIPFIT.BETA 8.0"),
        "CLIPFit on eurosat, 1, 4 shots: ": (f"{folder}/CLIPFit/vit_b16_ep100.yaml", "TRAINER.CLIPFIT.BETA 2.0"),
        "CoOp on dtd, eurosat, sun397, 1 shot: ": (f"{folder}/CoOp/vit_b16_ep50.yaml",),
        "CoOp on dtd, eurosat, sun397, 4 shots: ": (f"{folder}/CoOp/vit_b16_ep100.yaml",),
    }
    for start, facts in expected.items():
        assert_facts(line_with(out, start), *facts, "backbone ViT-B/16")
    assert sum(folder in line for line in out.splitlines()) == len(expected)


def test_checkpoints_that_the_user_requested_are_kept(sandbox):
    sandbox.run("fewshot", "--seeds", "1", "--shots", "1", "--", "TRAIN.CHECKPOINT_FREQ", "5")
    assert len(list(sandbox.out.glob("**/model.pth.tar-*"))) == 2


@pytest.mark.parametrize("forked", [False, True])
def test_failed_jobs_are_named_and_the_others_run(sandbox, capsys, forked):
    if forked:
        sandbox.fork()
    failed = "train_base/digits/shots_16/CLIPFit/micro_ep100/seed1"
    killed = "test_new/digits/shots_16/CoOp/micro/seed2"
    sandbox.orders[failed] = {"error": "error: no folder /data/digits"}
    sandbox.orders[killed] = {"kill": 9}
    assert sandbox.run(*TWO, "--jobs", "2") == 1
    assert len(sandbox.calls()) == 7  # all but the evaluation of the failed training; no retries
    counts, lines = finished_jobs(capsys.readouterr().out)
    assert counts == (5, 8) and len(sandbox.reports) == 1
    expected = (  # facts in each line
        ("failed", "CLIPFit on digits base", "seed 1", "no folder /data/digits"),
        (sandbox.out / failed / "console.log",),
        ("skipped", "CLIPFit on digits new", "seed 1", "training", "failed"),
        ("failed", "CoOp on digits new", "seed 2", console.SIGNALS[-9]),
        (sandbox.out / killed / "console.log",),
    )
    for line, facts in zip(lines, expected, strict=True):
        assert_facts(line, *facts)
    assert "error: no folder" in (sandbox.out / failed / "console.log").read_text()
    sandbox.orders.clear()
    assert sandbox.run(*TWO, "--jobs", "2", "--dry-run") == 0
    out = capsys.readouterr().out
    assert_facts(line_with(out, "retry     CLIPFit on digits base"), "seed 1", "0:00:10", "no folder /data/digits")
    assert job_counts(out) == {"finished": 5, "run": 1, "retry": 2} and len(sandbox.calls()) == 7
    assert sandbox.run(*TWO, "--jobs", "2") == 0 and len(sandbox.calls()) == 10


def test_a_run_with_other_settings_blocks_the_job(sandbox, capsys):
    assert sandbox.run("fewshot", "--seeds", "1", "2", "--shots", "1", "--", "OPTIM.LR", "0.1") == 0
    record = sandbox.out / "digits/shots_1/CLIPFit/micro_ep100/seed1/result.json"
    before = record.read_bytes()
    sandbox.control.joinpath("calls").unlink()
    for path in sandbox.out.glob("**/seed2"):
        shutil.rmtree(path)
    capsys.readouterr()
    assert sandbox.run("fewshot", "--seeds", "1", "2", "--shots", "1") == 1
    assert len(sandbox.calls()) == 1 and record.read_bytes() == before
    out = capsys.readouterr().out
    assert job_counts(out) == {"run": 1, "blocked": 1}
    counts, lines = finished_jobs(out)
    assert counts == (1, 2) and len(lines) == 1
    assert_facts(lines[0], "blocked", record.parent, "OPTIM.LR", "0.1", "0.002", "--output")


def test_several_at_a_time_each_on_its_own_gpu(sandbox):
    sandbox.orders[""] = {"seconds": 1.5}
    assert sandbox.run("fewshot", "--seeds", "1", "2", "3", "--shots", "1", "--gpus", "3", "5") == 0
    lines = [line.split() for line in sandbox.control.joinpath("calls").read_text().splitlines()]
    assert sorted(gpu for _, gpu, _ in lines[:2]) == ["3", "5"]
    times = sorted(float(when) for *_, when in lines)
    assert times[1] - times[0] < 1.5 < times[2] - times[0]  # two at once, the third after one has ended


def test_estimates(sandbox, capsys):
    sandbox.run("fewshot", "--seeds", "1", "--shots", "1", "2", "--methods", "CLIPFit")
    argv = ("fewshot", "--seeds", "1", "2", "--shots", "2", "4", "--methods", "CLIPFit", "CoOp")
    assert sandbox.run(*argv, "--dry-run") == 0
    out = capsys.readouterr().out
    # Both records, of 1 and 2 shots, have 8 s of training and 2 s of testing. Scaled to 4 shots, training takes 32 and
    # 16 s, on average 24 s.
    assert_facts(line_with(out, "run       CLIPFit on digits, 2 shots, seed 2"), "0:00:10")
    assert_facts(line_with(out, "run       CLIPFit on digits, 4 shots, seed 1"), "0:00:26")
    assert not re.search(r"\d:\d\d:\d\d", line_with(out, "run       CoOp on digits, 4 shots, seed 1"))
    assert re.search(r"\b4 jobs\b", out.splitlines()[-1])  # without an estimate


def test_startup_is_part_of_the_estimate(args, tmp_path):
    first, second = plan(args("fewshot", "--seeds", "1", "2", "--shots", "1"))
    expected = {job: state.expected_record(job) for job in (first, second)}
    costs = cost.Costs(expected)
    assert costs.seconds(second) is None
    first.output.mkdir(parents=True)
    (first.output / "result.json").write_text(json.dumps(record_of(first, expected)))
    second.output.mkdir(parents=True)
    (second.output / "result.json").write_text('{"finished": true}')  # has no durations
    costs.read_records(tmp_path / "out", on_gpu=False)
    assert costs.seconds(second) == 10
    costs.add(first, 15.0)
    assert costs.startup_seconds == [5.0] and costs.seconds(second) == 15
    costs.measured.clear()
    assert costs.seconds(second) == 15
    costs.read_records(tmp_path / "out", on_gpu=True)  # no run on a GPU
    assert len(next(iter(costs.recorded.values()))) == 1


def runner_of(sandbox, args, argv):
    parsed = args(*argv)
    jobs = plan(parsed)
    expected = {job: state.expected_record(job) for job in jobs}
    launcher = Launcher(list(expected.values()))
    runner = local.Runner(jobs, expected, [{}] * 2, cost.Costs(expected), launcher=launcher)
    return runner, jobs, expected, launcher


@pytest.mark.parametrize("forked", [False, True])
def test_a_signal_stops_the_jobs_and_the_next_sweep_resumes_them(sandbox, args, capsys, forked):
    if forked:
        sandbox.fork()
    argv = ("fewshot", "--seeds", "1", "2", "3", "--shots", "1")
    sandbox.run(*argv, "--dry-run")  # writes the files of fake_train.py
    sandbox.control.joinpath("orders.json").write_text('{"": {"seconds": 8}}')
    runner, jobs, expected, launcher = runner_of(sandbox, args, argv)

    def send_signal_after_both_checkpoints():
        while len(list(sandbox.out.glob("**/checkpoint"))) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)  # handled by the runner

    handlers = [signal.getsignal(number) for number in local.SIGNALS]
    threading.Thread(target=send_signal_after_both_checkpoints).start()
    with launcher:
        assert runner.run() == {} and runner.stops == 1
    assert [signal.getsignal(number) for number in local.SIGNALS] == handlers
    assert [state.job_state(job, expected).status for job in jobs] == ["resume", "resume", "run"]
    assert re.search(r"\b2 running jobs\b", capsys.readouterr().out)
    assert sandbox.run(*argv) == 0
    assert len(sandbox.calls()) == 5


@pytest.mark.skipif(not IS_POSSIBLE, reason="jobs are not forked on this system")
def test_jobs_are_new_processes_after_the_end_of_the_one_that_is_forked(sandbox, args, capsys):
    sandbox.fork()
    argv = ("fewshot", "--seeds", "1", "2", "3", "--shots", "1")
    sandbox.run(*argv, "--dry-run")
    sandbox.control.joinpath("orders.json").write_text('{"": {"seconds": 1}}')
    runner, jobs, expected, launcher = runner_of(sandbox, args, argv)

    def kill_after_both_checkpoints():
        while len(list(sandbox.out.glob("**/checkpoint"))) < 2:
            time.sleep(0.01)
        launcher.server.process.kill()

    threading.Thread(target=kill_after_both_checkpoints).start()
    with launcher:
        outcomes = runner.run()
    assert [outcomes[job].status for job in jobs] == ["finished"] * 3
    assert len(sandbox.calls()) == 5  # the two that ran were killed and started again
    assert capsys.readouterr().out.count(FALL_BACK) == 1


def test_a_sweep_waits_for_a_job_of_a_killed_sweep(sandbox, args, capsys):
    argv = ("fewshot", "--seeds", "1", "2", "--shots", "1", "--jobs", "2")
    sandbox.orders["seed1"] = {"seconds": 3}
    sandbox.run(*argv, "--dry-run")
    job = plan(args(*argv))[0]
    lock = locks.lock_folder(job.output)
    survivor = subprocess.Popen([sys.executable, str(FAKE_TRAIN), *job.argv], pass_fds=(lock.fileno(),))
    lock.close()
    assert sandbox.run(*argv) == 0
    assert survivor.wait() == 0 and len(sandbox.calls()) == 2
    out = capsys.readouterr().out
    assert line_with(out, f"{job.title}: ") and finished_jobs(out)[0] == (2, 2)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_that_cannot_be_written(sandbox, capsys):
    sandbox.out.mkdir()
    sandbox.out.chmod(0o500)
    assert sandbox.run("fewshot", "--seeds", "1", "--shots", "1") == 1
    sandbox.out.chmod(0o700)
    counts, lines = finished_jobs(capsys.readouterr().out)
    assert counts == (0, 1)
    assert_facts(lines[0], "failed", "CLIPFit on digits", "1 shot", "seed 1", sandbox.out)


def test_a_report_that_cannot_be_made_does_not_end_the_sweep(tmp_path, capsys):
    summary.report([str(tmp_path)])
    line = capsys.readouterr().err
    assert line.startswith("error: ") and str(tmp_path) in line and len(line.splitlines()) == 1

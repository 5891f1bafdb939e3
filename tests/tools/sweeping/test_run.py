"""Running jobs: order, failures, several at a time, what is skipped, what is cut off. The jobs are a stand-in's."""

import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import time

import pytest

from tools.sweeping import console, local, state
from tools.sweeping.follow import Follower
from tools.sweeping.plan import plan

from .conftest import STAND_IN, record_of

TWO = ("base2new", "--methods", "CLIPFit", "CoOp", "--seeds", "1", "2")


def short(path):
    """train_base/CLIPFit/seed1 of a run's folder."""
    parts = path.split("/")
    return "/".join([parts[0], *parts[-3::2]])


def test_all_run_once_in_order_and_the_report_follows(world, capsys):
    assert world.run(*TWO, "--jobs", "1") == 0
    order = itertools.product((1, 2), ("CLIPFit", "CoOp"), ("train_base", "test_new"))
    assert [short(path) for path in world.calls()] == [f"{part}/{method}/seed{seed}" for seed, method, part in order]
    assert world.reports == [[str(world.out)]]
    out = capsys.readouterr().out
    assert "8 jobs: 8 to run; 1 at a time" in out and out.endswith("8 of 8 jobs are finished\n")
    assert "[8/8] CoOp on digits new, 16 shots, seed 2: accuracy 50.00%; time left 0:00:00" in out
    left = [path.name for path in world.out.glob("train_base/**/model.pth.tar-*")]
    assert left == ["model.pth.tar-10"] * 4  # those on the way are gone
    assert world.run(*TWO, "--jobs", "1") == 0
    assert len(world.calls()) == 8 and "8 jobs: 8 finished" in capsys.readouterr().out


def test_the_log_of_one_job_at_a_time(world, capsys):
    world.orders["train_base"] = {"seconds": 1}
    assert world.run(*TWO[:3], "--seeds", "1", "2", "--log") == 0
    out = capsys.readouterr().out
    assert "; 1 at a time" in out
    titles = [f"== CLIPFit on digits {part}, 16 shots, seed {seed}" for seed in (1, 2) for part in ("base", "new")]
    places = [out.index(f"{title}\n") for title in titles]
    assert places == sorted(places)
    first = out[places[0] : places[1]]
    epochs = [f"epoch [{n}/10] batch" for n in range(1, 11)]
    assert [first.count(epoch) for epoch in epochs] == [1] * 10  # whole, and nothing twice
    assert first.index(epochs[9]) < first.index("* accuracy: 50.00%") < first.index("[1/4] CLIPFit on digits base")


def test_what_a_follower_copies(tmp_path, capsys):
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


def test_a_table_of_these_jobs_alone(world, capsys):
    world.orders["test_new/digits/shots_16/CLIPFit/micro_ep100/seed2"] = {"error": "error: no"}
    assert world.run(*TWO[:3], "--seeds", "1", "2", "--table") == 1
    run = "digits/shots_16/CLIPFit/micro_ep100/seed"
    there = [str(world.out / f"{part}/{run}") for part in ("train_base", "test_new")]
    runs = [f"{there[0]}1", f"{there[1]}1", f"{there[0]}2"]  # without the one that failed
    assert world.reports == [["--no-files", "--protocol", "base2new", "--", *runs]]
    world.orders[""] = {"error": "error: no"}
    assert world.run("domain_shift", "--datasets", "digits", "--targets", "folder", "--seeds", "1", "--table") == 1
    assert len(world.reports) == 1  # there is nothing to show


def test_the_settings_are_shown(world, capsys):
    argv = ("fewshot", "--methods", "CoOp", "CLIPFit", "--datasets", "dtd", "eurosat", "sun397", "--shots", "1", "4")
    assert world.run(*argv, "--seeds", "1", "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()[:4]
    folder = "configs/trainers"
    assert sorted(lines) == [
        f"CLIPFit on dtd, sun397, 1, 4 shots: {folder}/CLIPFit/vit_b16_ep100.yaml with TRAINER.CLIPFIT.BETA 8.0; "
        "backbone ViT-B/16",
        f"CLIPFit on eurosat, 1, 4 shots: {folder}/CLIPFit/vit_b16_ep100.yaml with TRAINER.CLIPFIT.BETA 2.0; "
        "backbone ViT-B/16",
        f"CoOp on dtd, eurosat, sun397, 1 shots: {folder}/CoOp/vit_b16_ep50.yaml; backbone ViT-B/16",
        f"CoOp on dtd, eurosat, sun397, 4 shots: {folder}/CoOp/vit_b16_ep100.yaml; backbone ViT-B/16",
    ]


def test_checkpoints_that_were_asked_for_stay(world):
    world.run("fewshot", "--seeds", "1", "--shots", "1", "--", "TRAIN.CHECKPOINT_FREQ", "5")
    assert len(list(world.out.glob("**/model.pth.tar-*"))) == 2


def test_a_failure_is_named_and_the_others_go_on(world, capsys):
    world.orders["train_base/digits/shots_16/CLIPFit/micro_ep100/seed1"] = {"error": "error: no folder /data/digits"}
    world.orders["test_new/digits/shots_16/CoOp/micro/seed2"] = {"kill": 9}
    assert world.run(*TWO, "--jobs", "2") == 1
    assert len(world.calls()) == 7  # all but the evaluation of the failed training; nothing twice
    out = capsys.readouterr().out
    log = world.out / "train_base/digits/shots_16/CLIPFit/micro_ep100/seed1/console.log"
    assert out.split("jobs are finished, the others are not:\n")[1].splitlines() == [
        "failed: CLIPFit on digits base, 16 shots, seed 1: no folder /data/digits",
        f"    log: {log}",
        "left: CLIPFit on digits new, 16 shots, seed 1: its training is failed",
        "failed: CoOp on digits new, 16 shots, seed 2: killed (out of memory?)",
        f"    log: {world.out / 'test_new/digits/shots_16/CoOp/micro/seed2/console.log'}",
    ]
    assert "5 of 8 jobs" in out and "error: no folder" in log.read_text() and len(world.reports) == 1
    world.orders.clear()
    assert world.run(*TWO, "--jobs", "2", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "again     CLIPFit on digits base, 16 shots, seed 1  0:00:10  (no folder /data/digits)" in out
    assert "8 jobs: 5 finished, 1 to run, 2 to run again, failed before" in out and len(world.calls()) == 7
    assert world.run(*TWO, "--jobs", "2") == 0 and len(world.calls()) == 10


def test_a_run_with_other_settings_is_in_the_way(world, capsys):
    assert world.run("fewshot", "--seeds", "1", "2", "--shots", "1", "--", "OPTIM.LR", "0.1") == 0
    record = world.out / "digits/shots_1/CLIPFit/micro_ep100/seed1/result.json"
    before = record.read_bytes()
    world.told.joinpath("calls").unlink()
    for path in world.out.glob("**/seed2"):
        subprocess.Popen(["rm", "-r", str(path)]).wait()
    assert world.run("fewshot", "--seeds", "1", "2", "--shots", "1") == 1
    assert len(world.calls()) == 1 and record.read_bytes() == before
    out = capsys.readouterr().out
    assert "2 jobs: 1 to run, 1 blocked by a run with other settings" in out
    assert "seed1 holds a run with other settings (OPTIM.LR 0.1 -> 0.002): give another --output, or" in out


def test_several_at_a_time_each_on_its_gpu(world):
    world.orders[""] = {"seconds": 1.5}
    assert world.run("fewshot", "--seeds", "1", "2", "3", "--shots", "1", "--gpus", "3", "5") == 0
    lines = [line.split() for line in world.told.joinpath("calls").read_text().splitlines()]
    assert sorted(gpu for _, gpu, _ in lines[:2]) == ["3", "5"]
    times = sorted(float(when) for *_, when in lines)
    assert times[1] - times[0] < 1.5 < times[2] - times[0]  # two at once, the third when one has ended


def test_estimates(world, capsys):
    world.run("fewshot", "--seeds", "1", "--shots", "1", "2", "--methods", "CLIPFit")
    argv = ("fewshot", "--seeds", "1", "2", "--shots", "2", "4", "--methods", "CLIPFit", "CoOp")
    assert world.run(*argv, "--dry-run") == 0
    lines = capsys.readouterr().out.splitlines()
    assert "run       CLIPFit on digits, 2 shots, seed 2  0:00:10" in lines  # the record says 8 and 2 seconds
    assert "run       CLIPFit on digits, 4 shots, seed 1  0:00:26" in lines  # 2 x 8 and 4 x 8 seconds of training
    assert "run       CoOp on digits, 4 shots, seed 1" in lines
    assert lines[-1] == "Nothing similar is on record for 4 jobs: their time is unknown"


def test_starting_up_counts_once_it_is_known(args, tmp_path):
    first, second = plan(args("fewshot", "--seeds", "1", "2", "--shots", "1"))
    wanted = {job: state.expect(job) for job in (first, second)}
    costs = local.Costs(wanted)
    assert costs.seconds(second) is None
    first.output.mkdir(parents=True)
    (first.output / "result.json").write_text(json.dumps(record_of(first, wanted)))
    second.output.mkdir(parents=True)
    (second.output / "result.json").write_text('{"finished": true}')  # tells nothing
    costs.read_records(tmp_path / "out", on_gpu=False)
    assert costs.seconds(second) == 10
    costs.add(first, 15.0)
    assert costs.starting == [5.0] and costs.seconds(second) == 15
    costs.measured.clear()
    assert costs.seconds(second) == 15
    costs.read_records(tmp_path / "out", on_gpu=True)  # nothing to learn from
    assert len(next(iter(costs.recorded.values()))) == 1


def runner_of(world, args, argv):
    parsed = args(*argv)
    jobs = plan(parsed)
    wanted = {job: state.expect(job) for job in jobs}
    return local.Runner(jobs, wanted, [{}] * 2, local.Costs(wanted)), jobs, wanted


def test_a_signal_ends_the_jobs_and_they_are_resumed(world, args, capsys):
    argv = ("fewshot", "--seeds", "1", "2", "3", "--shots", "1")
    world.run(*argv, "--dry-run")  # writes what the stand-in needs
    world.told.joinpath("orders.json").write_text('{"": {"seconds": 8}}')
    runner, jobs, wanted = runner_of(world, args, argv)

    def signal_when_both_have_saved():
        while len(list(world.out.glob("**/checkpoint"))) < 2:
            time.sleep(0.1)
        os.kill(os.getpid(), signal.SIGTERM)  # the runner is running, and handles it

    handlers = [signal.getsignal(number) for number in local.SIGNALS]
    threading.Thread(target=signal_when_both_have_saved).start()
    assert runner.run() == {} and runner.stops == 1
    assert [signal.getsignal(number) for number in local.SIGNALS] == handlers
    assert [state.look(job, wanted).kind for job in jobs] == ["resume", "resume", "run"]
    assert "Ending 2 running jobs" in capsys.readouterr().out
    assert world.run(*argv) == 0
    assert len(world.calls()) == 5


def test_a_job_that_outlived_its_sweep_is_waited_for(world, args, capsys):
    argv = ("fewshot", "--seeds", "1", "2", "--shots", "1", "--jobs", "2")
    world.orders["seed1"] = {"seconds": 3}
    world.run(*argv, "--dry-run")
    job = plan(args(*argv))[0]
    lock = state.take(job.output)
    survivor = subprocess.Popen([sys.executable, str(STAND_IN), *job.argv], pass_fds=(lock.fileno(),))
    lock.close()
    assert world.run(*argv) == 0
    assert survivor.wait() == 0 and len(world.calls()) == 2
    out = capsys.readouterr().out
    assert "seed 1: another process is running it; waiting for its end" in out and "2 of 2 jobs are finished" in out


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_output_that_cannot_be_written(world, capsys):
    world.out.mkdir()
    world.out.chmod(0o500)
    assert world.run("fewshot", "--seeds", "1", "--shots", "1") == 1
    world.out.chmod(0o700)
    assert "failed: CLIPFit on digits, 1 shots, seed 1: it cannot be started: " in capsys.readouterr().out

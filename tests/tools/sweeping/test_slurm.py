"""SLURM: submitted scripts, with fake sbatch and squeue commands; and a real run on submitit's local executor."""

import pickle
import time

import pytest

from tests.tools.slurm_commands import commands, run_submitted  # noqa: F401  (fixture)
from tests.user_errors import assert_facts, raises_user_error
from tools import sweep
from tools.sweeping import slurm, state

from .conftest import job_counts

submitit = pytest.importorskip("submitit", reason="needs requirements-optional.txt")
ARGV = ("base2new", "--methods", "CLIPFit", "CoOp", "--seeds", "1", "2")


def test_one_task_per_training_and_its_evaluations(sandbox, commands, capsys):  # noqa: F811
    options = ("--slurm", "partition=gpu", "timeout_min=90", "--jobs", "3")
    assert sandbox.run(*ARGV, *options) == 0
    script = (commands / "batch.sh").read_text()
    for line in ("--array=0-3%3", "--partition=gpu", "--time=90", "--gpus-per-node=1", "--cpus-per-task=8"):
        assert f"#SBATCH {line}\n" in script
    (submitted,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Submitted ")]
    assert_facts(submitted, "77", "8 jobs", "4 tasks", "3 at a time", sandbox.out / ".slurm")
    assert not sandbox.reports

    (commands / "queue").write_text("77_0\n77_1\n77_2\n77_3\n12\n")
    assert sandbox.run(*ARGV, *options) == 0  # nothing is submitted twice
    assert job_counts(capsys.readouterr().out) == {"queued": 8} and sandbox.calls() == []

    for task in range(3):  # as SLURM would run them
        submitted = next((sandbox.out / ".slurm").glob(f"*/77_{task}_submitted.pkl"))
        pickle.loads(submitted.read_bytes()).result()
    assert len(sandbox.calls()) == 6 and sandbox.calls()[1].startswith("test_new/")
    (commands / "queue").write_text("77_3\n")
    capsys.readouterr()
    sandbox.run(*ARGV, *options, "--dry-run")
    assert job_counts(capsys.readouterr().out) == {"finished": 6, "queued": 2}
    (commands / "queue").write_text("")
    sandbox.run(*ARGV, *options, "--dry-run")  # the task has left the queue without a result
    assert job_counts(capsys.readouterr().out) == {"finished": 6, "run": 2}
    assert sandbox.run(*ARGV) == 0 and sandbox.run(*ARGV, *options) == 0
    assert len(sandbox.reports) == 2 and len(sandbox.calls()) == 8


def test_tests_of_chosen_runs_are_submitted_after_the_candidates(sandbox, commands, capsys):  # noqa: F811
    sandbox.accuracies["BETA=1.0_val"] = 70.0
    (commands / "queue").write_text("")
    vary = ("--vary", "TRAINER.CLIPFIT.BETA", "8", "1", "--choose", "val")
    for jobs, tasks, left in (("2 jobs", 2, "2 tests"), ("2 jobs", 1, "")):
        assert sandbox.run("base2new", "--seeds", "1", *vary, "--slurm") == 0
        text = capsys.readouterr().out
        assert_facts(next(line for line in text.splitlines() if line.startswith("Submitted ")), jobs, f"{tasks} tasks")
        assert left in text and not sandbox.reports
        assert run_submitted(sandbox.out) == tasks
    assert [name.split("/")[0] for name in sandbox.calls()] == ["train_base", "train_base", "test_base", "test_new"]
    assert sandbox.run("base2new", "--seeds", "1", *vary, "--slurm") == 0
    assert sandbox.reports


def test_a_failed_task_names_its_jobs(sandbox, commands):  # noqa: F811
    sandbox.orders["train_base"] = {"error": "error: no folder /data"}
    assert sandbox.run(*ARGV[:3], "--seeds", "1", "--slurm") == 0
    submitted = next((sandbox.out / ".slurm").glob("*/*_submitted.pkl"))
    with pytest.raises(RuntimeError) as error:
        pickle.loads(submitted.read_bytes()).result()
    training, evaluation = str(error.value).split("; ")
    assert_facts(training, "digits base", "failed", "no folder /data")
    assert_facts(evaluation, "digits new", "skipped", "failed")


def test_jobs_on_several_gpus(sandbox, commands, capsys):  # noqa: F811
    (commands / "queue").write_text("")
    given = (["gpus_per_node=4"], [], 4, 32), (["cpus_per_task=6"], ["--gpus-per-job", "2"], 2, 6)
    for slurm_options, options, gpus, cores in given:
        assert sandbox.run(*ARGV[:3], "--seeds", "1", "--slurm", *slurm_options, *options) == 0
        script = (commands / "batch.sh").read_text()
        assert f"--gpus-per-node={gpus}\n" in script and f"--cpus-per-task={cores}\n" in script
        (submitted,) = (sandbox.out / ".slurm").glob("*/*_submitted.pkl")
        assert pickle.loads(submitted.read_bytes()).args[2] == gpus
        submitted.unlink()
        assert f"{gpus} GPUs" in capsys.readouterr().out
    with raises_user_error("--gpus-per-job 2", "gpus_per_node=4", error=ValueError):
        sandbox.run(*ARGV, "--slurm", "gpus_per_node=4", "--gpus-per-job", "2")


def test_groups_are_packed_into_tasks():
    groups = [[1, 2], [3], [4, 5, 6]]
    assert slurm.pack(groups) == groups and slurm.pack([]) == []
    packed = slurm.pack([[i, -i] for i in range(1, 2501)])
    assert len(packed) == slurm.MAX_TASKS and sum(map(len, packed)) == 5000
    assert packed[0] == [1, -1, 1001, -1001, 2001, -2001]


@pytest.mark.parametrize(
    "option, facts",
    [
        ("partition", ("--slurm", "KEY=VALUE", "'partition'")),
        ("cluster=pbs", ("--slurm", "pbs")),
        ("gpu=1", ("--slurm", "gpu")),
    ],
)
def test_user_errors(sandbox, commands, option, facts):  # noqa: F811
    with raises_user_error(*facts, error=ValueError):
        sandbox.run("base2new", "--seeds", "1", "--slurm", option)
    assert not (sandbox.out / ".slurm" / slurm.TASK_IDS).exists()


def test_slurm_is_not_installed(sandbox, monkeypatch):
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    with raises_user_error("--slurm", "srun", error=ValueError):
        sandbox.run("base2new", "--seeds", "1", "--slurm")


def test_a_real_run_on_the_local_executor(tmp_path, digits_root, capsys):
    argv = ["fewshot", "--methods", "ZeroshotCLIP", "--seeds", "1", "--shots", "1", "--root", str(digits_root)]
    argv += ["--output", str(tmp_path / "out"), "--slurm", "cluster=local", "gpus_per_node=0", "cpus_per_task=1"]
    assert sweep.main(argv) == 0
    folder = tmp_path / "out/digits/shots_1/ZeroshotCLIP/micro/seed1"
    deadline = time.time() + 300
    while time.time() < deadline and (state.is_running(folder) or not (folder / "result.json").exists()):
        time.sleep(0.5)
    capsys.readouterr()
    assert sweep.main([*argv, "--dry-run"]) == 0
    assert job_counts(capsys.readouterr().out) == {"finished": 1}

"""What has run already is told by records with the same settings, never by folders that are there."""

import json
import subprocess
import sys

import pytest

from tests.trainers.conftest import tiny  # noqa: F401  (fixture)
from tools.sweeping import console, state
from tools.sweeping.plan import plan

from .conftest import record_of


@pytest.fixture
def jobs(args):
    """A training on the base classes and its evaluation on new ones, and what their records must say."""
    found = plan(args("base2new", "--seeds", "1"))
    return found, {job: state.expect(job) for job in found}


def write(job, wanted, **changes):
    job.output.mkdir(parents=True, exist_ok=True)
    (job.output / "result.json").write_text(json.dumps({**record_of(job, wanted), **changes}))


def kinds(jobs):
    found, wanted = jobs
    return [state.look(job, wanted).kind for job in found]


def test_from_nothing_to_finished(jobs):
    (training, evaluation), wanted = jobs
    assert kinds(jobs) == ["run", "run"]
    training.output.mkdir(parents=True)
    assert kinds(jobs) == ["run", "run"]
    write(training, wanted, finished=False)
    assert kinds(jobs) == ["run", "run"]
    (training.output / "clipfit").mkdir()
    (training.output / "clipfit" / "checkpoint").write_text("model.pth.tar-5\n")
    assert kinds(jobs) == ["resume", "run"]
    write(training, wanted)
    assert kinds(jobs) == ["finished", "run"]
    write(evaluation, wanted)
    assert kinds(jobs) == ["finished", "finished"]


def test_records_of_another_version_of_the_run(jobs):
    (training, evaluation), wanted = jobs
    write(training, wanted)
    settings = wanted[training]["settings"]
    write(training, wanted, settings={**settings, "TRAINER.CLIPFIT.BETA": 4.0})
    blocked = state.look(training, wanted)
    assert blocked.kind == "blocked"
    assert f"{training.output} holds a run with other settings (TRAINER.CLIPFIT.BETA 4.0 -> 8.0): give" in blocked.note
    write(training, wanted, settings={**settings, "TRAINER.CLIPFIT.BETA": 4.0}, finished=False)
    assert state.look(training, wanted).kind == "run"  # nothing was made with them
    write(training, wanted)
    source = {"settings": {**settings, "OPTIM.MAX_EPOCH": 5}}
    write(evaluation, wanted, source=source)
    assert "evaluated OPTIM.MAX_EPOCH 5 -> 100" in state.look(evaluation, wanted).note
    write(evaluation, wanted, evaluation={"split": "val", "final_model": "last_step"})
    assert "split 'val' -> 'test'" in state.look(evaluation, wanted).note


def test_an_evaluation_of_an_older_training_is_made_again(jobs):
    (training, evaluation), wanted = jobs
    write(evaluation, wanted)
    assert state.look(evaluation, wanted) == state.State("run", "its training is not finished")
    write(training, wanted, written="2031-01-01T00:00:00+0000")
    assert state.look(evaluation, wanted) == state.State("run", "its training is newer")
    write(training, wanted)
    write(evaluation, wanted, source=None)
    assert state.look(evaluation, wanted) == state.State("run", "its record does not tell what was evaluated")


def test_zero_shot_evaluates_no_training(args):
    found = plan(args("base2new", "--seeds", "1", "--methods", "ZeroshotCLIP"))
    wanted = {job: state.expect(job) for job in found}
    write(found[0], wanted, eval_only=True)
    write(found[1], wanted, source=None)
    assert kinds((found, wanted)) == ["finished", "finished"]


@pytest.mark.parametrize("content", ['{"finished": tr', "", "[1]", "\x00", '{"finished": true, "settings": 3}'])
def test_half_written_records(jobs, content):
    (training, _), wanted = jobs
    training.output.mkdir(parents=True)
    (training.output / "result.json").write_text(content)
    found = state.look(training, wanted)
    assert found.kind == "run" and "result.json cannot be read, it is made anew" in found.note


def test_other_weights_under_the_same_name(jobs, args, tiny):  # noqa: F811
    (training, _), wanted = jobs
    write(training, wanted, identity={"backbone": "micro", "fingerprint": "0" * 16})
    assert "the weights of micro have changed" in state.look(training, wanted).note
    write(training, wanted, identity={"backbone": "a/copy.pt", "fingerprint": state.fingerprint("micro")})
    assert state.look(training, wanted).kind == "finished"
    (job,) = plan(args("fewshot", "--seeds", "1", "--shots", "1", "--backbone", "ViT-B/16"))
    wanted = {job: state.expect(job)}
    assert state.fingerprint("ViT-B/16") is None
    write(job, wanted)
    assert state.look(job, wanted).kind == "finished"
    write(job, wanted, identity={"backbone": tiny, "fingerprint": state.fingerprint(tiny)})
    assert f"MODEL.BACKBONE.NAME {tiny!r} -> 'ViT-B/16'" in state.look(job, wanted).note


def test_other_images_under_the_name_folder(args, tmp_path):
    (job,) = plan(args("fewshot", "--seeds", "1", "--shots", "1", "--datasets", f"folder={tmp_path / 'a'}"))
    wanted = {job: state.expect(job)}
    write(job, wanted, root=str(tmp_path / "b"))
    assert f"DATASET.ROOT '{tmp_path}/b' -> '{tmp_path}/a'" in state.look(job, wanted).note
    write(job, wanted, root=str(tmp_path / "a"))
    assert state.look(job, wanted).kind == "finished"


def test_locks(jobs):
    (training, _), wanted = jobs
    lock = state.take(training.output)
    assert state.take(training.output) is None
    assert state.look(training, wanted).kind == "running" and state.look(training, wanted, held=True).kind == "run"
    lock.close()
    assert state.look(training, wanted).kind == "run"
    state.take(training.output).close()


def test_a_run_that_was_started_by_hand_has_locked_its_folder_too(jobs):
    (training, _), wanted = jobs
    training.output.mkdir(parents=True)
    code = (
        "import runpy, sys; FolderLock = runpy.run_path('trainers/common/runs/files.py')['FolderLock']\n"
        f"with FolderLock({str(training.output)!r}): print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        assert state.look(training, wanted).kind == state.look(training, wanted, held=True).kind == "running"
        process.stdin.close()
    assert state.look(training, wanted).kind == "run"


@pytest.mark.parametrize(
    "printed, code, expected",
    [
        ("all well", 0, ""),
        ("error: no folder /data", 1, "no folder /data"),
        ("error: first\nWARNING: later", 1, "first"),
        ("Traceback\n  File\nRuntimeError: CUDA error", 1, "RuntimeError: CUDA error (exit code 1)"),
        ("epoch", -9, "killed (out of memory?)"),
        ("", 3, "exit code 3"),
        ("Terminated", console.CUT_OFF, ""),
        ("still running", None, ""),
    ],
)
def test_why_a_job_failed(tmp_path, printed, code, expected):
    with console.begin(tmp_path, ["earlier"]) as out:
        out.write("error: of an earlier attempt\n")
    console.end(tmp_path, 1)
    with console.begin(tmp_path, ["python", "train.py"]) as out:
        out.write(printed)
    if code is not None:
        console.end(tmp_path, code)
    assert console.failure(tmp_path) == expected


def test_progress_of_the_last_attempt(tmp_path):
    assert console.fraction(tmp_path) == 0 and console.failure(tmp_path) == ""
    for epoch in (9, 2):
        with console.begin(tmp_path, ["python"]) as out:
            assert console.fraction(tmp_path) == 0
            out.write("x" * 30_000 + f"\nepoch [{epoch}/10] batch [1/4] time 0.1\n")
        assert console.fraction(tmp_path) == pytest.approx((epoch - 1 + 0.25) / 10)

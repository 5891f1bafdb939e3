"""The state of a job depends on the run record in its run directory. An existing folder alone means nothing."""

import json
import os
import subprocess
import sys

import pytest

from tests.user_errors import assert_facts
from tools.sweeping import console, locks, state
from tools.sweeping.plan import plan

from .conftest import record_of


@pytest.fixture
def jobs(args):
    """(jobs, expected records): a training on the base classes and its evaluation on the new classes."""
    planned = plan(args("base2new", "--seeds", "1"))
    return planned, {job: state.expected_record(job) for job in planned}


def write(job, expected, **changes):
    """Writes the record of a finished job, with changes."""
    job.output.mkdir(parents=True, exist_ok=True)
    (job.output / "result.json").write_text(json.dumps({**record_of(job, expected), **changes}))


def statuses(jobs):
    planned, expected = jobs
    return [state.job_state(job, expected).status for job in planned]


def test_states_from_a_missing_folder_to_a_finished_run(jobs):
    (training, evaluation), expected = jobs
    assert statuses(jobs) == ["run", "run"]
    training.output.mkdir(parents=True)
    assert statuses(jobs) == ["run", "run"]
    write(training, expected, finished=False)
    assert statuses(jobs) == ["run", "run"]
    (training.output / "clipfit").mkdir()
    (training.output / "clipfit" / "checkpoint").write_text("model.pth.tar-5\n")
    assert statuses(jobs) == ["resume", "run"]
    write(training, expected)
    assert statuses(jobs) == ["finished", "run"]
    write(evaluation, expected)
    assert statuses(jobs) == ["finished", "finished"]


def test_a_record_with_other_settings_blocks_the_job(jobs):
    (training, evaluation), expected = jobs
    write(training, expected)
    settings = expected[training]["settings"]
    write(training, expected, settings={**settings, "TRAINER.CLIPFIT.BETA": 4.0})
    blocked = state.job_state(training, expected)
    assert blocked.status == "blocked"
    assert_facts(blocked.note, training.output, "TRAINER.CLIPFIT.BETA", "4.0", "8.0", "--output")
    write(training, expected, settings={**settings, "TRAINER.CLIPFIT.BETA": 4.0}, finished=False)
    assert state.job_state(training, expected).status == "run"  # there is no checkpoint or result to lose
    write(training, expected)
    source = {"settings": {**settings, "OPTIM.MAX_EPOCH": 5}}
    write(evaluation, expected, source=source)
    blocked = state.job_state(evaluation, expected)
    assert blocked.status == "blocked"
    assert_facts(blocked.note, evaluation.output, "OPTIM.MAX_EPOCH", "5", "100")
    write(evaluation, expected, evaluation={"split": "val", "final_model": "last_step"})
    assert_facts(state.job_state(evaluation, expected).note, "split", "'val'", "'test'")


def test_an_outdated_evaluation_runs_again(jobs):
    (training, evaluation), expected = jobs
    states = []
    write(evaluation, expected)
    states.append(state.job_state(evaluation, expected))  # the training is not finished
    write(training, expected, written="2031-01-01T00:00:00+0000")
    states.append(state.job_state(evaluation, expected))  # the training is newer
    write(training, expected)
    write(evaluation, expected, source=None)
    states.append(state.job_state(evaluation, expected))  # the record does not name the evaluated run
    assert [found.status for found in states] == ["run"] * 3
    assert len({found.note for found in states} - {""}) == 3  # each with its own reason
    assert "record" in states[2].note


def test_the_digest_of_the_weights_decides_what_is_outdated(jobs):
    """Clocks that are wrong or in other time zones do not matter."""
    (training, evaluation), expected = jobs
    source = record_of(evaluation, expected)["source"]
    write(
        training,
        expected,
        weights={"a/model.pth.tar-50": "w1", "a/model.pth.tar-100": "w2"},
        written="2031-01-01T00:00:00Z",
    )
    write(evaluation, expected, source={**source, "weights": "w2"})
    assert state.job_state(evaluation, expected).status == "finished"
    write(evaluation, expected, source={**source, "weights": "w3"}, written="2032-01-01T00:00:00Z")
    outdated = state.job_state(evaluation, expected)
    assert outdated.status == "run" and "weights" in outdated.note


@pytest.mark.parametrize(
    "trained, evaluated, status",
    [
        ("2026-03-01T12:00:00Z", "2026-03-01T12:00:01Z", "finished"),
        ("2026-03-01T12:00:02Z", "2026-03-01T12:00:01Z", "run"),
        ("2026-03-01T12:00:00+0200", "2026-03-01T10:30:00Z", "finished"),  # trained at 10:00 UTC
        ("2026-03-01T11:00:00Z", "2026-03-01T12:30:00+0200", "run"),  # evaluated at 10:30 UTC
    ],
)
def test_times_are_compared_in_utc(jobs, trained, evaluated, status):
    (training, evaluation), expected = jobs
    write(training, expected, written=trained)
    write(evaluation, expected, written=evaluated)
    assert state.job_state(evaluation, expected).status == status


def test_zero_shot_evaluations_need_no_source(args):
    planned = plan(args("base2new", "--seeds", "1", "--methods", "ZeroshotCLIP"))
    expected = {job: state.expected_record(job) for job in planned}
    write(planned[0], expected, eval_only=True)
    write(planned[1], expected, source=None)
    assert statuses((planned, expected)) == ["finished", "finished"]


DEEP = "[" * 100_000 + "]" * 100_000
CHANGED = '{"finished": true, "settings": {}, "identity": {}, "digest": "0"}'


@pytest.mark.parametrize(
    "content", ['{"finished": tr', "", "[1]", "\x00", '{"finished": true, "settings": 3}', DEEP, CHANGED]
)
def test_corrupted_records(jobs, content):
    (training, _), expected = jobs
    training.output.mkdir(parents=True)
    (training.output / "result.json").write_text(content)
    found = state.job_state(training, expected)
    assert found.status == "run"
    assert_facts(found.note, training.output / "result.json")


def test_a_record_that_is_no_file(jobs):
    (training, _), expected = jobs
    training.output.mkdir(parents=True)
    os.mkfifo(training.output / "result.json")
    assert state.job_state(training, expected).status == "run"


def test_other_weights_under_the_same_name(jobs, args, tiny):
    (training, _), expected = jobs
    write(training, expected, identity={"backbone": "micro", "fingerprint": "0" * 16})
    blocked = state.job_state(training, expected)
    assert blocked.status == "blocked"
    assert_facts(blocked.note, training.output, "weights", "micro")
    write(training, expected, identity={"backbone": "a/copy.pt", "fingerprint": state.fingerprint("micro")})
    assert state.job_state(training, expected).status == "finished"
    (job,) = plan(args("fewshot", "--seeds", "1", "--shots", "1", "--backbone", "ViT-B/16"))
    expected = {job: state.expected_record(job)}
    assert state.fingerprint("ViT-B/16") is None
    write(job, expected)
    assert state.job_state(job, expected).status == "finished"
    write(job, expected, identity={"backbone": tiny, "fingerprint": state.fingerprint(tiny)})
    blocked = state.job_state(job, expected)
    assert blocked.status == "blocked"
    assert_facts(blocked.note, "MODEL.BACKBONE.NAME", repr(tiny), "'ViT-B/16'")


def test_another_folder_of_images(args, tmp_path):
    (job,) = plan(args("fewshot", "--seeds", "1", "--shots", "1", "--datasets", f"folder={tmp_path / 'a'}"))
    expected = {job: state.expected_record(job)}
    write(job, expected, root=str(tmp_path / "b"))
    blocked = state.job_state(job, expected)
    assert blocked.status == "blocked"
    assert_facts(blocked.note, "DATASET.ROOT", tmp_path / "a", tmp_path / "b")
    write(job, expected, root=str(tmp_path / "a"))
    assert state.job_state(job, expected).status == "finished"


def test_locks(jobs):
    (training, _), expected = jobs
    lock = locks.lock_folder(training.output)
    assert locks.lock_folder(training.output) is None
    assert state.job_state(training, expected).status == "running"
    assert state.job_state(training, expected, lock_held=True).status == "run"
    lock.close()
    assert state.job_state(training, expected).status == "run"
    locks.lock_folder(training.output).close()


def test_a_run_outside_a_sweep_locks_its_folder(jobs):
    (training, _), expected = jobs
    training.output.mkdir(parents=True)
    code = (
        "import runpy, sys; FolderLock = runpy.run_path('trainers/common/runs/files.py')['FolderLock']\n"
        f"with FolderLock({str(training.output)!r}): print('locked', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        assert state.job_state(training, expected).status == "running"
        assert state.job_state(training, expected, lock_held=True).status == "running"
        process.stdin.close()
    assert state.job_state(training, expected).status == "run"


@pytest.mark.parametrize(
    "printed, code, facts",
    [
        ("all well", 0, ()),
        ("error: no folder /data", 1, ("no folder /data",)),
        ("error: first\nWARNING: later", 1, ("first",)),
        ("Traceback\n  File\nRuntimeError: CUDA error", 1, ("RuntimeError: CUDA error", "1")),
        ("epoch", -9, (console.SIGNALS[-9],)),
        ("", 3, ("3",)),
        ("Terminated", console.INTERRUPTED, ()),
        ("still running", None, ()),
    ],
)
def test_why_a_job_failed(tmp_path, printed, code, facts):
    with console.start_attempt(tmp_path, ["earlier"]) as out:
        out.write("error: of an earlier attempt\n")
    console.end_attempt(tmp_path, 1)
    with console.start_attempt(tmp_path, ["python", "train.py"]) as out:
        out.write(printed)
    if code is not None:
        console.end_attempt(tmp_path, code)
    failure = console.failure(tmp_path)
    if facts:
        assert_facts(failure, *facts)
        assert not any(word in failure for word in ("earlier", "later", "Traceback", "error: first"))
    else:
        assert failure == ""


def test_progress_of_the_last_attempt(tmp_path):
    assert console.progress(tmp_path) is None and console.failure(tmp_path) == ""
    for epoch in (9, 2):
        with console.start_attempt(tmp_path, ["python"]) as out:
            assert console.progress(tmp_path) is None
            out.write("x" * 30_000 + f"\nepoch [{epoch}/10] batch [1/4] time 0.1\n")
        assert console.progress(tmp_path).share == pytest.approx((epoch - 1 + 0.25) / 10)

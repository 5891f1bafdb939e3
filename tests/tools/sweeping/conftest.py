"""Fixtures: runs a sweep in this process, with fake_train.py instead of train.py."""

import json
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from runtime import fork_server
from tools import sweep
from tools.sweeping import launch, process, summary
from tools.sweeping.choosing import all_choices
from tools.sweeping.plan import plan
from tools.sweeping.state import STATUSES, expected_record, fingerprint
from trainers.common.runs.files import write_atomically

FAKE_TRAIN = Path(__file__).parent / "fake_train.py"


@pytest.fixture
def args(tmp_path):
    """args(PROTOCOL, *options): parsed arguments of tools/sweep.py, with data and output folders in tmp_path."""

    def parse(*argv):
        argv = (*argv[:1], "--root", str(tmp_path / "data"), "--output", str(tmp_path / "out"), *argv[1:])
        return sweep.parse_args(argv)

    return parse


def record_of(job, expected, accuracy=50.0):
    """Returns the run record that train.py would write for a job."""
    training, settings = job.training, expected[job]["settings"]
    source = {"settings": expected[training]["settings"], "model_dir": str(training.output)} if training else None
    backbone = expected[job]["backbone"]
    start = (training or job).start
    identity = {"backbone": backbone, "fingerprint": fingerprint(backbone)}
    if start:
        identity["start"] = {"model_dir": str(start.output), "weights": f"digest of {start.output}"}
    return {
        "finished": True, "eval_only": training is not None, "settings": settings, "source": source,
        "evaluation": expected[job]["evaluation"], "train_seconds": None if training else 8.0, "test_seconds": 2.0,
        "identity": identity, "weights": {} if training else {"model.pth.tar-1": f"digest of {job.output}"},
        "device": "cpu (1 threads)", "written": "2030-01-01T00:00:00+0000",
        "metrics": {expected[job]["evaluation"]["split"]: {"accuracy": accuracy}},
    }  # fmt: skip


def job_counts(text):
    """Returns status -> number of jobs from the line "12 jobs: 5 finished, 7 to run", and checks the total."""
    total, parts = re.search(r"^(\d+) jobs: ([^;\n]+)", text, re.M).groups()
    status_of = {description: status for status, description in STATUSES.items()}
    counts = {}
    for part in parts.split(", "):
        number, description = part.split(" ", 1)
        counts[status_of[description]] = int(number)
    assert sum(counts.values()) == int(total)
    return counts


@pytest.fixture
def sandbox(tmp_path, monkeypatch, args):
    """A sweep whose jobs run fake_train.py.

    Attributes:
        run: run(*argv) runs a sweep and returns its exit code.
        calls: calls() returns the run directories of the jobs that were started, relative to `out`.
        orders: What fake_train.py does in run directories whose path contains a key.
        accuracies: Accuracy in percent of runs whose path contains a key; 50 of the others.
        reports: Arguments of the calls of tools/report.py.
        control: Folder with the files that fake_train.py reads and writes.
        out: Output folder of the sweep.
        fork: fork() makes the jobs of the next sweeps forks of one process.
    """
    control = tmp_path / "control"
    control.mkdir()
    monkeypatch.setenv("FAKE_TRAIN", str(control))
    monkeypatch.setattr(process, "PROGRAM", str(FAKE_TRAIN))
    monkeypatch.setattr(launch, "IS_POSSIBLE", False)
    reports, orders, accuracies = [], {}, {}
    monkeypatch.setattr(summary, "report", reports.append)

    def run(*argv):
        parsed = args(*argv)
        jobs = plan(args(*argv))
        jobs += [test for c in all_choices(jobs) for candidate in c.candidates for test in c.tests_with(candidate)]
        expected = {job: expected_record(job) for job in jobs}
        records = {}
        for job in jobs:
            key = f"{job.output} {job.training.output}" if job.training else str(job.output)
            accuracy = next((value for part, value in accuracies.items() if part in key), 50.0)
            records[key] = record_of(job, expected, accuracy)
        write_atomically(str(control / "records.json"), json.dumps(records))  # a job of an earlier run may read them
        write_atomically(str(control / "orders.json"), json.dumps(orders))
        return sweep.sweep(parsed)

    def fork():
        monkeypatch.setattr(launch, "IS_POSSIBLE", fork_server.IS_POSSIBLE)
        monkeypatch.setattr(launch, "modules", lambda expected: ["json"])  # all that fake_train.py needs

    def calls():
        lines = (control / "calls").read_text().splitlines() if (control / "calls").exists() else []
        return [line.split()[0].removeprefix(f"{tmp_path / 'out'}/") for line in lines]

    return SimpleNamespace(
        run=run, calls=calls, orders=orders, accuracies=accuracies, reports=reports, control=control,
        out=tmp_path / "out", fork=fork,
    )  # fmt: skip

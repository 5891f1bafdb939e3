"""A sweep in this process, whose jobs are the stand-in's."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest

from tools import sweep
from tools.sweeping import process, summary
from tools.sweeping.plan import plan
from tools.sweeping.state import expect, fingerprint

STAND_IN = Path(__file__).parent / "stand_in.py"


@pytest.fixture
def args(tmp_path):
    """args(PROTOCOL, *options): arguments of tools/sweep.py, with folders below tmp_path."""

    def parse(*argv):
        argv = (*argv[:1], "--root", str(tmp_path / "data"), "--output", str(tmp_path / "out"), *argv[1:])
        return sweep.parse_args(argv)

    return parse


def record_of(job, wanted):
    """A record as train.py would write it for the job."""
    training, settings = job.training, wanted[job]["settings"]
    source = {"settings": wanted[training]["settings"], "model_dir": str(training.output)} if training else None
    return {
        "finished": True, "eval_only": training is not None, "settings": settings, "source": source,
        "evaluation": wanted[job]["evaluation"], "train_seconds": None if training else 8.0, "test_seconds": 2.0,
        "identity": {"backbone": wanted[job]["backbone"], "fingerprint": fingerprint(wanted[job]["backbone"])},
        "device": "cpu (1 threads)", "written": "2030-01-01T00:00:00+0000", "metrics": {"test": {"accuracy": 50.0}},
    }  # fmt: skip


@pytest.fixture
def world(tmp_path, monkeypatch, args):
    """`run(*argv)` runs a sweep; `orders` tells the stand-in what to do, `calls()` which jobs were started."""
    told = tmp_path / "told"
    told.mkdir()
    monkeypatch.setenv("STAND_IN", str(told))
    monkeypatch.setattr(process, "PROGRAM", str(STAND_IN))
    reports, orders = [], {}
    monkeypatch.setattr(summary, "report", reports.append)

    def run(*argv):
        parsed = args(*argv)
        jobs = plan(args(*argv))
        wanted = {job: expect(job) for job in jobs}
        records = {str(job.output): record_of(job, wanted) for job in jobs}
        (told / "records.json").write_text(json.dumps(records))
        (told / "orders.json").write_text(json.dumps(orders))
        return sweep.sweep(parsed)

    def calls():
        lines = (told / "calls").read_text().splitlines() if (told / "calls").exists() else []
        return [line.split()[0].removeprefix(f"{tmp_path / 'out'}/") for line in lines]

    return SimpleNamespace(run=run, calls=calls, orders=orders, reports=reports, told=told, out=tmp_path / "out")

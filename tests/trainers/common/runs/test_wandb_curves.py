"""train.py --wandb: what is logged to W&B, with a stand-in for its package and, offline, with the package itself."""

import json
import struct
import sys
import time
from types import SimpleNamespace

import pytest

import train
from tests.trainers.helpers import FAST
from tests.user_errors import assert_facts

DIGITS = "configs/datasets/digits.yaml"


class Stand:
    """A stand-in for the package that records the calls."""

    def __init__(self):
        self.runs = []
        self.errors = SimpleNamespace(Error=type("Error", (Exception,), {}))

    def init(self, **settings):
        run = SimpleNamespace(settings=settings, points=[], metrics={}, code=None)
        run.define_metric = lambda name, step_metric=None: run.metrics.update({name: step_metric})
        run.log = lambda values: run.points.append(dict(values))
        run.finish = lambda exit_code: setattr(run, "code", exit_code)
        self.runs.append(run)
        return run


@pytest.fixture
def wandb(monkeypatch):
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    stand = Stand()
    monkeypatch.setitem(sys.modules, "wandb", stand)
    return stand


@pytest.fixture
def run(digits_root, tiny, tmp_path, capsys):
    """run(*opts, flags=...) runs train.py and returns (exit code, stderr)."""

    def call(*opts, flags=("--wandb",), output=tmp_path / "run"):
        argv = ["--root", str(digits_root), "--backbone", tiny, "--output-dir", str(output), "--trainer", "CLIPFit"]
        stdout = sys.stdout
        code = train.main([*argv, "--dataset-config-file", DIGITS, "--seed", "1", *flags, *FAST, *opts])
        sys.stdout = stdout
        return code, capsys.readouterr().err

    return call


def test_a_run(run, wandb, tmp_path):
    options = ("DATASET.SUBSAMPLE_CLASSES", "base", "TEST.FINAL_MODEL", "best_val", "OPTIM.MAX_EPOCH", "2")
    assert run(*options)[0] == 0
    (it,) = wandb.runs
    assert it.code == 0 and it.settings["project"] == "clipfit" and it.settings["dir"] == str(tmp_path / "run")
    assert (it.settings["group"], it.settings["name"]) == (
        "CLIPFit-Digits-2shots-base",
        "CLIPFit-Digits-2shots-base-seed1",
    )
    config = it.settings["config"]
    assert config["TRAINER.CLIPFIT.BETA"] == 8.0 and config["OPTIM.LR"] == 0.002 and config["SEED"] == 1
    assert "TRAINER.COOP.N_CTX" not in config
    assert it.metrics["train/*"] == "step" and it.metrics["val/*"] == it.metrics["test/*"] == "epoch"
    training = {"train/loss", "train/acc", "train/ce", "train/kd", "train/lr", "step"}
    tested = {"accuracy", "error_rate", "macro_f1"}
    assert [set(point) for point in it.points] == [
        training,
        {f"val/{name}" for name in tested} | {"epoch"},
        training,
        {f"{split}/{name}" for split in ("val", "test") for name in tested} | {"epoch"},  # both in the last epoch
    ]
    assert [point.get("step", point.get("epoch")) for point in it.points] == [0, 0, 1, 1]
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert it.points[-1]["test/accuracy"] == result["metrics"]["test"]["accuracy"]


def test_a_resumed_run_has_the_same_wandb_id(run, wandb, tmp_path):
    run("OPTIM.MAX_EPOCH", "1")
    run("OPTIM.MAX_EPOCH", "1")
    run("OPTIM.MAX_EPOCH", "1", output=tmp_path / "other")
    run(
        flags=("--wandb", "--eval-only", "--model-dir", str(tmp_path / "run")),
        output=tmp_path / "evaluation",
    )
    ids = [it.settings["id"] for it in wandb.runs]
    assert ids[0] == ids[1] and len(set(ids)) == 3 and all(it.settings["resume"] == "allow" for it in wandb.runs)
    assert [set(p) for p in wandb.runs[3].points] == [{"test/accuracy", "test/error_rate", "test/macro_f1", "epoch"}]


def test_failures(run, wandb, monkeypatch):
    code, err = run("OPTIM.LR", "1e30", "OPTIM.MAX_EPOCH", "20", "OPTIM.WARMUP_EPOCH", "-1")
    assert code == 1 and wandb.runs[-1].code == 1 and "NaN" in err.splitlines()[-1]
    assert run(flags=("--wandb", "--no-train"))[0] == 0 and len(wandb.runs) == 1

    def refuse(**settings):
        raise wandb.errors.Error("no API key\nis configured")

    monkeypatch.setattr(wandb, "init", refuse)
    code, err = run()
    line = err.splitlines()[-1]
    assert code == 1 and line.startswith("error: ")
    assert_facts(line, "--wandb", "no API key is configured", "`wandb login`", "WANDB_MODE=offline")


def test_without_the_package(run, monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "wandb", None)  # as if the package were not installed
    code, err = run()
    assert code == 1 and not (tmp_path / "run" / "wandb").exists()
    line = err.splitlines()[-1]
    assert line.startswith("error: ") and "wandb" in line and "pip install -r requirements-optional.txt" in line
    assert run(flags=())[0] == 0  # other runs do not need it


def test_project_of_the_environment(run, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    run("OPTIM.MAX_EPOCH", "1")
    assert wandb.runs[0].settings["project"] == "mine"


def records(path):
    """Records of an offline file: 32 KB blocks of fragments, each after its checksum, length and type."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, at, content = path.read_bytes(), 7, b""
    while at + 7 <= len(data):
        if 32768 - at % 32768 < 7:
            at += 32768 - at % 32768
            continue
        _, length, kind = struct.unpack("<IHB", data[at : at + 7])
        content += data[at + 7 : at + 7 + length]
        at += 7 + length
        if kind in (1, 4):  # a whole record, or its last fragment
            yield Record.FromString(content)
            content = b""


def test_offline_with_the_package_itself(run, tmp_path, monkeypatch):
    pytest.importorskip("wandb", reason="the package wandb is not installed")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    assert run("OPTIM.MAX_EPOCH", "2", flags=(), output=tmp_path / "without")[0] == 0
    assert run("OPTIM.MAX_EPOCH", "2")[0] == 0
    (file,) = (tmp_path / "run" / "wandb").glob("offline-run-*/run-*.wandb")
    for _ in range(100):  # W&B's own process writes it a little later
        found = list(records(file))
        if any(r.WhichOneof("record_type") == "exit" for r in found):
            break
        time.sleep(0.1)
    (about,) = [r.run for r in found if r.WhichOneof("record_type") == "run"]
    assert about.run_id == (tmp_path / "run" / "wandb" / "run_id").read_text().strip()
    assert about.project == "clipfit" and about.display_name == "CLIPFit-Digits-2shots-seed1"
    assert "TRAINER.CLIPFIT.BETA" in {item.key for item in about.config.update}
    points = [
        {item.key or item.nested_key[0]: json.loads(item.value_json) for item in r.history.item}
        for r in found
        if r.WhichOneof("record_type") == "history"
    ]
    assert [p["step"] for p in points if "train/loss" in p] == [0, 1, 2, 3]  # two epochs of two batches
    results = [json.loads((tmp_path / name / "result.json").read_text()) for name in ("run", "without")]
    assert points[-1]["test/accuracy"] == results[0]["metrics"]["test"]["accuracy"]
    assert results[0]["metrics"] == results[1]["metrics"]  # W&B does not use the run's random generators

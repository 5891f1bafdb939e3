"""`result.json` exists from the start of a run, is always complete, and survives an interrupted run."""

import json
import os
import time

import pytest

from tests.user_errors import raises_user_error
from trainers.common.runs import record

from ...helpers import cut_off_after

SAVING = ("TRAIN.CHECKPOINT_FREQ", "1")


def read(folder):
    return json.loads((folder / "result.json").read_text())


def test_from_start_to_end(make, tmp_path):
    folder = tmp_path / "run"
    cut_off_after(make("CLIPFit", *SAVING), 1)
    started = read(folder)
    assert not started["finished"] and started["metrics"] == {} and started["source"] is None
    trainer = make("CLIPFit", *SAVING)
    trainer.train()
    assert trainer.start_epoch == 1
    finished = read(folder)
    assert finished["finished"] and finished["metrics"]["test"]["accuracy"] > 0 and not finished["eval_only"]
    assert finished["evaluation"] == {"split": "test", "final_model": "last_step"}
    assert set(finished) == set(started) | {
        "train_seconds", "test_seconds", "peak_memory_mb", "device", "content", "weights", "written", "trust",
    }  # fmt: skip
    same = set(started) - {"finished", "metrics", "started", "digest"}
    assert {key: started[key] for key in same} == {key: finished[key] for key in same}
    assert started["started"] <= finished["started"] <= finished["written"]


def test_an_evaluation_names_the_run_it_evaluates(make, tmp_path):
    base = make("CLIPFit", "DATASET.SUBSAMPLE_CLASSES", "base", seed=4, output=tmp_path / "base")
    base.train()
    new = make("CLIPFit", "DATASET.SUBSAMPLE_CLASSES", "new", seed=5, output=tmp_path / "new")
    new.load_model(str(tmp_path / "base"), epoch=3)
    new.test()
    result = read(tmp_path / "new")
    assert result["eval_only"] and (result["classes"], result["seed"], result["epochs"]) == ("new", 5, 0)
    assert result["source"] == {
        "dataset": "Digits",
        "classes": "base",
        "shots": 2,
        "seed": 4,
        "settings": read(tmp_path / "base")["settings"],
        "model_dir": str(tmp_path / "base"),
        "epoch": 3,
        "weights": read(tmp_path / "base")["weights"]["clipfit/model.pth.tar-3"],
        "content": {split: read(tmp_path / "base")["content"][split] for split in ("train_x", "val")},
    }


@pytest.mark.parametrize("zero_shot", [False, True])
def test_records_whether_the_method_uses_training_images(make, tmp_path, monkeypatch, zero_shot):
    trainer = make("CLIPFit")
    monkeypatch.setattr(type(trainer), "zero_shot", zero_shot, raising=False)
    trainer.test()
    assert read(tmp_path / "run")["identity"]["zero_shot"] is zero_shot


def test_a_field_of_the_wrong_type_is_not_written(make, tmp_path, monkeypatch):
    trainer = make("CLIPFit")
    monkeypatch.setattr(type(trainer), "zero_shot", "no", raising=False)
    with raises_user_error("identity.zero_shot"):
        trainer.test()
    assert not (tmp_path / "run" / "result.json").exists()


def test_deploying_the_best_epoch_is_no_evaluation_of_another_run(make, tmp_path):
    trainer = make("CLIPFit", "TEST.FINAL_MODEL", "best_val")
    trainer.train()
    result = read(tmp_path / "run")
    assert result["source"] is None and not result["eval_only"]
    assert result["evaluation"] == {"split": "test", "final_model": "best_val"}
    with raises_user_error("TEST.FINAL_MODEL 'best_val' -> 'last_step'"):
        make("CLIPFit").train()  # it would resume from the best epoch as if it were the last
    assert read(tmp_path / "run") == result


def test_training_time_includes_the_time_before_a_resume(make, tmp_path):
    trainer = make("CLIPFit", *SAVING)
    step = trainer.forward_backward

    def slow(batch):
        time.sleep(0.5)
        return step(batch)

    trainer.forward_backward = slow
    cut_off_after(trainer, 2)
    make("CLIPFit", *SAVING).train()
    seconds = read(tmp_path / "run")["train_seconds"]
    make("CLIPFit", *SAVING).train()  # nothing left to train
    assert seconds >= 1 and read(tmp_path / "run")["train_seconds"] >= seconds - 0.5


def test_a_finished_record_stays_until_the_new_one_is_complete(make, tmp_path, monkeypatch):
    make("CLIPFit").train()
    path = tmp_path / "run" / "result.json"
    before = path.read_bytes()
    trainer = make("CLIPFit")
    monkeypatch.setattr(type(trainer), "model_inference", lambda *args: pytest.fail("cut off"))
    with pytest.raises(pytest.fail.Exception):
        trainer.train()
    assert path.read_bytes() == before
    monkeypatch.undo()
    make("CLIPFit").train()
    assert read(tmp_path / "run")["finished"] and path.read_bytes() != before
    assert [p.name for p in path.parent.glob("*result*")] == ["result.json"]


@pytest.mark.parametrize("setting", ["DATASET.NUM_SHOTS 1", "TEST.SPLIT val", "TRAINER.CLIPFIT.BETA 2.0"])
def test_the_finished_record_of_another_run_is_kept(make, tmp_path, setting):
    make("CLIPFit").test()
    before = (tmp_path / "run" / "result.json").read_bytes()
    make("CLIPFit", *setting.split()).test()
    (kept,) = (tmp_path / "run").glob("result.json-*")
    assert kept.read_bytes() == before and read(tmp_path / "run")["finished"]


@pytest.mark.parametrize("content", ['{"finished": tr', "", "[]", '{"finished": true}', "\x00\x01"])
def test_a_corrupted_record_is_replaced(make, tmp_path, content):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "result.json").write_text(content)
    make("CLIPFit").test()
    assert read(tmp_path / "run")["finished"]


def test_a_record_that_is_no_file_or_was_changed_is_not_read(tmp_path):
    os.mkfifo(tmp_path / "pipe")  # reading it would not end
    for path in (tmp_path, tmp_path / "pipe", tmp_path / "missing"):
        assert record.read(str(path)) is None
    content = {"finished": True, "metrics": {"test": {"accuracy": 50.0}}}
    content["digest"] = record.record_digest(content)
    (tmp_path / "result.json").write_text(json.dumps(content))
    assert record.read(str(tmp_path / "result.json")) == content
    (tmp_path / "result.json").write_text(json.dumps(content).replace("50.0", "99.0"))
    assert record.read(str(tmp_path / "result.json")) is None


def test_a_run_without_a_test_is_finished_too(make, tmp_path):
    make("CLIPFit", "TEST.NO_TEST", "True").train()
    result = read(tmp_path / "run")
    assert result["finished"] and result["metrics"] == {} and result["train_seconds"] > 0


def test_same_run():
    run = {"dataset": "A", "settings": {"X": [1, 2]}, "identity": {"fingerprint": "a"}, "source": None, "git": "1"}
    assert record.same_run(run, {**run, "git": "2", "settings": {"X": (1, 2)}})
    assert record.same_run(run, {**run, "source": {"settings": None, "epoch": None, "model_dir": "elsewhere"}})
    for other in (
        {"dataset": "B"}, {"settings": {"X": [1, 3]}}, {"identity": {"fingerprint": "b"}}, {"source": {"epoch": 3}},
        {"evaluation": {"split": "val"}}, {"seed": 3}, {"shots": 1}, {"eval_only": True}, {"identity": None},
    ):  # fmt: skip
        assert not record.same_run(run, {**run, **other})


def test_differences():
    run = {"OPTIM.LR": 0.1, "OPTIM.NAME": "sgd", "TRAINER.CLIPFIT.BETA": 2.0}
    assert record.differences(run, dict(run)) == []
    assert record.differences(run, {**run, "OPTIM.LR": 0.2}) == ["OPTIM.LR 0.1 -> 0.2"]
    # Keys that were added to the code later have their defaults.
    assert record.differences(run, {**run, "OPTIM.MOMENTUM": 0.9, "TRAINER.CLIPFIT.REG": "kd"}) == []
    assert record.differences({**run, "OPTIM.MOMENTUM": 0.5}, run) == ["OPTIM.MOMENTUM 0.5 -> 0.9"]
    assert record.differences({**run, "TRAINER.CLIPFIT.GONE": 1}, run) == ["TRAINER.CLIPFIT.GONE 1 -> None"]

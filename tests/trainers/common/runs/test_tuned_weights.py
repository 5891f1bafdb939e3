"""tuned.safetensors: its content, and that corrupted files are detected."""

import builtins
import json
import random

import pytest
import torch
from safetensors import safe_open

from tests.user_errors import raises_user_error
from trainers.common.runs import checkpoint, tuned_weights

from ...helpers import batch_of


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A small state and the bytes of its file."""
    state = {
        "state_dict": {"visual.ln.weight": torch.arange(12.0).reshape(3, 4), "labels": torch.tensor([1, 0]),
                       "alpha": torch.tensor(0.5), "none": torch.zeros(0, 3)},
        "meta": {"trainer": "CLIPFit", "classnames": ["a cat", "čeština", "猫"], "fingerprint": "0" * 16},
        "settings": {"OPTIM.LR": 0.002, "INPUT.SIZE": [32, 32]}, "epoch": 3, "val_result": None,
        "metrics": {"test": {"accuracy": 12.3456789}},
    }  # fmt: skip
    path = tmp_path_factory.mktemp("delta") / tuned_weights.NAME
    tuned_weights.save(state, str(path))
    return state, path.read_bytes()


def same(a, b):
    return {k: v for k, v in a.items() if k != "state_dict"} == {k: v for k, v in b.items() if k != "state_dict"} and (
        a["state_dict"].keys() == b["state_dict"].keys()
        and all(torch.equal(t, b["state_dict"][n]) and t.dtype == b["state_dict"][n].dtype
                for n, t in a["state_dict"].items())
    )  # fmt: skip


def test_reads_what_was_written(written, tmp_path):
    state, content = written
    (tmp_path / "x.safetensors").write_bytes(content)
    assert same(tuned_weights.read(str(tmp_path / "x.safetensors")), state)


def test_corrupted_bytes_are_detected(written, tmp_path):
    """Flips, deletes, overwrites and inserts bytes. Reading raises a one-line error or returns the saved state."""
    state, content = written
    path, rng, errors = tmp_path / "x.safetensors", random.Random(0), 0
    for case in range(400):
        broken = bytearray(content)
        at = rng.randrange(len(broken))
        if case % 4 == 0:
            broken[at] ^= 1 << rng.randrange(8)
        elif case % 4 == 1:
            del broken[at : at + rng.choice([1, 8, len(broken)])]
        elif case % 4 == 2:
            broken[at : at + 16] = rng.randbytes(16)
        else:
            broken[at:at] = rng.randbytes(rng.choice([1, 8, 4096]))
        path.write_bytes(broken)
        try:
            read = tuned_weights.read(str(path))
        except ValueError as error:
            errors += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert same(read, state)
    assert errors > 390  # changed padding at the end of the header has no effect


def test_a_foreign_file_is_refused(written, tmp_path):
    from safetensors.torch import save_file

    path = str(tmp_path / "x.safetensors")
    save_file({"weight": torch.zeros(3)}, path)
    with raises_user_error(path, "another program"):
        tuned_weights.read(path)
    torch.save({"state_dict": {}}, path)
    with raises_user_error(path, "safetensors"):
        tuned_weights.read(path)


def test_a_run_saves_its_tuned_weights(make, tmp_path, capsys):
    trainer = make("CLIPFit", "DATASET.SUBSAMPLE_CLASSES", "base")
    trainer.train()
    path = tmp_path / "run" / "clipfit" / tuned_weights.NAME
    assert f"saved to {path} (" in capsys.readouterr().out
    scalars = sum(p.numel() for p in trainer.tuned.parameters())
    assert 4 * scalars < path.stat().st_size < 4 * scalars + 20_000
    with safe_open(str(path), framework="pt") as file:  # readable without this project
        header = file.metadata()
        assert set(file.keys()) == set(trainer.tuned.state_dict())
    meta, settings = json.loads(header["meta"]), json.loads(header["settings"])
    assert meta["trainer"] == "CLIPFit" and meta["fingerprint"] == trainer.clip.fingerprint
    assert meta["template"] == "a photo of the number {}." and meta["classnames"] == trainer.dm.dataset.classnames
    assert {"python", "torch"} <= meta["versions"].keys() and settings["TRAINER.CLIPFIT.BETA"] == 8.0
    assert json.loads(header["metrics"]) == trainer.run.metrics and trainer.run.metrics["test"]["accuracy"] > 0
    assert json.loads(header["epoch"]) == 3


def test_evaluation_falls_back_to_it_without_checkpoints(make, tmp_path):
    trainer = make("CLIPFit", output=tmp_path / "a")
    trainer.train()
    folder = tmp_path / "a" / "clipfit"
    assert checkpoint.find(str(folder)) == str(folder / "model.pth.tar-3")
    (folder / "checkpoint").unlink()
    (folder / "model.pth.tar-3").unlink()
    other = make("CLIPFit", output=tmp_path / "b", seed=2)
    other.load_model(str(tmp_path / "a"))
    image = batch_of(trainer)["img"]
    for t in (trainer, other):
        t.set_model_mode("eval")
    with torch.no_grad():
        assert torch.equal(trainer.model_inference(image), other.model_inference(image))


def test_it_has_the_weights_of_the_selected_epoch(make, tmp_path):
    """With TEST.FINAL_MODEL best_val this is the best epoch, not the last one."""
    options = ("TEST.FINAL_MODEL", "best_val", "OPTIM.MAX_EPOCH", "3", "OPTIM.LR", "0.5", "OPTIM.WARMUP_EPOCH", "-1")
    trainer = make("CLIPFit", *options)
    results = iter([50.0, 70.0, 60.0])
    evaluate = trainer.test
    trainer.test = lambda split=None: next(results) if split == "val" else evaluate(split)
    trainer.train()
    best = torch.load(tmp_path / "run" / "clipfit" / "model-best.pth.tar", weights_only=True)
    state = tuned_weights.read(str(tmp_path / "run" / "clipfit" / tuned_weights.NAME))
    assert state["epoch"] == best["epoch"] == 2
    for name, tensor in best["state_dict"].items():
        assert torch.equal(tensor, state["state_dict"][name])


def test_a_run_finishes_without_the_package_safetensors(make, tmp_path, monkeypatch, capsys):
    trainer = make("CLIPFit")
    original = builtins.__import__

    def no_safetensors(name, *args, **kwargs):
        if name.startswith("safetensors"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_safetensors)
    trainer.train()
    assert "pip install safetensors" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "run" / "clipfit").iterdir()) == ["checkpoint", "model.pth.tar-3"]
    with raises_user_error("x.safetensors", "pip install safetensors"):
        tuned_weights.read("x.safetensors")

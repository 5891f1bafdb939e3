"""Tuned tensors as a file of their own: what is in it, and that nothing wrong is read from it."""

import builtins
import json
import random

import pytest
import torch
from safetensors import safe_open

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


def test_changed_bytes_are_noticed(written, tmp_path):
    """Bits flipped, pieces cut out, overwritten or put in: an error of one line, or what was written."""
    state, content = written
    path, rng, errors = tmp_path / "x.safetensors", random.Random(0), 0
    for case in range(400):
        broken = bytearray(content)
        place = rng.randrange(len(broken))
        if case % 4 == 0:
            broken[place] ^= 1 << rng.randrange(8)
        elif case % 4 == 1:
            del broken[place : place + rng.choice([1, 8, len(broken)])]
        elif case % 4 == 2:
            broken[place : place + 16] = rng.randbytes(16)
        else:
            broken[place:place] = rng.randbytes(rng.choice([1, 8, 4096]))
        path.write_bytes(broken)
        try:
            read = tuned_weights.read(str(path))
        except ValueError as error:
            errors += 1
            assert str(path) in str(error) and "\n" not in str(error)
        else:
            assert same(read, state)
    assert errors > 390  # blanks at the end of the header mean nothing


def test_a_foreign_file_is_refused(written, tmp_path):
    from safetensors.torch import save_file

    path = str(tmp_path / "x.safetensors")
    save_file({"weight": torch.zeros(3)}, path)
    with pytest.raises(ValueError, match="written by another program"):
        tuned_weights.read(path)
    torch.save({"state_dict": {}}, path)
    with pytest.raises(ValueError, match="damaged or no safetensors file"):
        tuned_weights.read(path)


def test_a_run_leaves_its_tuned_tensors(make, tmp_path, capsys):
    trainer = make("CLIPFit", "DATASET.SUBSAMPLE_CLASSES", "base")
    trainer.train()
    path = tmp_path / "run" / "clipfit" / tuned_weights.NAME
    assert f"Tuned tensors saved to {path}" in capsys.readouterr().out
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


def test_evaluation_reads_it_where_no_checkpoint_is(make, tmp_path):
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


def test_it_holds_the_epoch_that_was_chosen(make, tmp_path):
    """With best_val the last epoch is evaluated and kept only if it is the best one."""
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


def test_without_the_package_a_run_says_so_and_ends_well(make, tmp_path, monkeypatch, capsys):
    trainer = make("CLIPFit")
    original = builtins.__import__

    def no_safetensors(name, *args, **kwargs):
        if name.startswith("safetensors"):
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", no_safetensors)
    trainer.train()
    assert "safetensors is not installed" in capsys.readouterr().out
    assert sorted(p.name for p in (tmp_path / "run" / "clipfit").iterdir()) == ["checkpoint", "model.pth.tar-3"]
    with pytest.raises(ValueError, match="pip install safetensors"):
        tuned_weights.read("x.safetensors")

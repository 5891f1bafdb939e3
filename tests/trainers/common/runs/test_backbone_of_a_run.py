"""Which backbone a run or checkpoint may choose, damage to it, and INIT_WEIGHTS."""

import json
import shutil

import pytest
import safetensors.torch
import torch

from tests.reference.models import random_clip, save_clip
from tests.user_errors import raises_user_error
from trainers.common import load_tuned
from trainers.common.models import loading
from trainers.common.models.weights_digest import fingerprint
from trainers.common.runs import checkpoint_file, tuned_weights
from trainers.common.runs.finished import read_run

from ...helpers import make_trainer

SHORT = ("OPTIM.MAX_EPOCH", "1", "OPTIM.WARMUP_EPOCH", "-1", "TEST.NO_TEST", "True")
IMAGE = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.fixture(scope="module")
def trained(digits_root, tmp_path_factory):
    """(folder, trainer) of a run of CLIPFit, whose backbone is folder/clip.safetensors."""
    folder = tmp_path_factory.mktemp("trained")
    safetensors.torch.save_file(random_clip("tiny").state_dict(), folder / "clip.safetensors")
    trainer = make_trainer("CLIPFit", digits_root, str(folder / "clip.safetensors"), folder / "run", *SHORT)
    trainer.train()
    return folder, trainer


@pytest.fixture
def run(trained, tmp_path):
    """(run, backbone): a copy, in which the metadata name the copy of the backbone."""
    shutil.copytree(trained[0], tmp_path, dirs_exist_ok=True)
    backbone = tmp_path / "clip.safetensors"
    path = tmp_path / "run" / "clipfit" / "tuned.safetensors"
    state = tuned_weights.read(str(path))
    state["meta"]["backbone"] = str(backbone)
    tuned_weights.save(state, str(path))
    return path, backbone


def change_a_value(backbone) -> None:
    """Changes one value of the weights that the fingerprint does not sample."""
    weights = safetensors.torch.load_file(backbone)
    before = fingerprint(weights)
    weights["token_embedding.weight"][321, 5] += 0.1
    assert fingerprint(weights) == before
    safetensors.torch.save_file(weights, backbone)


def test_the_run_names_the_digest_of_all_weights(trained):
    folder, trainer = trained
    identity = json.loads((folder / "run" / "result.json").read_text())["identity"]
    assert identity["weights_digest"] == trainer.clip.weights_digest and len(identity["weights_digest"]) == 64


def test_a_path_that_a_file_names_must_hold_the_weights_of_the_run(run, monkeypatch):
    path, backbone = run
    assert load_tuned(path).predict(IMAGE).logits.shape == (2, 10)
    change_a_value(backbone)
    built = []
    monkeypatch.setattr(loading, "build_model", lambda *_: built.append(1))
    with raises_user_error(backbone, "weights_digest", "--backbone"):
        load_tuned(path)
    assert not built
    state, _ = read_run(path)
    state["meta"]["backbone"] = "\\\\other\\share\\clip.pt"
    tuned_weights.save(state, str(path))
    with raises_user_error("other", "--backbone"):
        load_tuned(path)


def test_runs_of_earlier_versions_have_only_a_fingerprint(run):
    path, backbone = run
    state = tuned_weights.read(str(path))
    del state["meta"]["weights_digest"]
    tuned_weights.save(state, str(path))
    expected = load_tuned(path).predict(IMAGE).logits
    change_a_value(backbone)  # undetected
    assert torch.equal(load_tuned(path).predict(IMAGE).logits, expected)
    save_clip(random_clip("tiny", seed=3), backbone.with_suffix(".pt"))
    state["meta"]["backbone"] = str(backbone.with_suffix(".pt"))
    tuned_weights.save(state, str(path))
    with raises_user_error(backbone.with_suffix(".pt"), "fingerprint", "--backbone"):
        load_tuned(path)


def test_a_damaged_backbone_that_the_user_names_is_refused(run, make):
    path, backbone = run
    moved = backbone.rename(backbone.with_name("moved.safetensors"))
    assert load_tuned(path, backbone=moved).predict(IMAGE).logits.shape == (2, 10)
    trainer = make("CLIPFit", *SHORT, backbone=str(moved))
    trainer.load_model(str(path.parents[1]))
    change_a_value(moved)
    with raises_user_error(path, moved, "digest", "--backbone"):
        load_tuned(path, backbone=moved)
    damaged = make("CLIPFit", *SHORT, backbone=str(moved))
    with raises_user_error(moved, "digest", "--backbone"):
        damaged.load_model(str(path.parents[1]))


def test_other_classes_need_no_file(run):
    path, backbone = run
    classifier = load_tuned(path)
    backbone.unlink()
    assert classifier.with_classes(["a", "b"]).predict(IMAGE).logits.shape == (2, 2)


@pytest.mark.parametrize("form", ["bare", "module.", "safetensors", "checkpoint", "tuned.safetensors"])
def test_init_weights(form, trained, make, tmp_path):
    folder, trainer = trained
    weights = trainer.tuned.state_dict()
    path = tmp_path / "init.pt"
    if form == "bare":
        torch.save(dict(weights), path)
    elif form == "module.":
        torch.save({f"module.{name}": tensor for name, tensor in weights.items()}, path)
    elif form == "safetensors":
        path = tmp_path / "init.safetensors"
        safetensors.torch.save_file(weights, path)
    else:
        name = "model.pth.tar-1" if form == "checkpoint" else form
        path = folder / "run" / "clipfit" / name
    started = make("CLIPFit", "MODEL.INIT_WEIGHTS", str(path), backbone=str(folder / "clip.safetensors"))
    assert all(torch.equal(started.tuned.state_dict()[name], tensor) for name, tensor in weights.items())


def test_init_weights_that_do_not_fit(trained, make, tmp_path):
    torch.save({"ctx": torch.zeros(4, 8)}, tmp_path / "other.pt")
    for path, facts in (("other.pt", ("other.pt", "ctx")), ("none.pt", ("none.pt", "MODEL.INIT_WEIGHTS"))):
        with raises_user_error(*facts):
            make("CLIPFit", "MODEL.INIT_WEIGHTS", str(tmp_path / path))
    folder, _ = trained
    run = str(folder / "run")
    with raises_user_error("MODEL.INIT_WEIGHTS", run, f"{run}/clipfit/model.pth.tar-"):
        make("CLIPFit", "MODEL.INIT_WEIGHTS", run)
    torch.save({"ctx": torch.zeros(4, 8)}, tmp_path / "model.pth.tar-1")
    with raises_user_error("model.pth.tar-1", "state_dict"):  # but a checkpoint is no bare state dict
        checkpoint_file.read(str(tmp_path / "model.pth.tar-1"))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning")
def test_a_checkpoint_that_is_a_torchscript_archive_is_refused(tmp_path):
    """torch.load would pass it to torch.jit.load, which runs code in it."""
    torch.jit.script(torch.nn.Linear(2, 2)).save(str(tmp_path / "model.pth.tar-1"))
    with raises_user_error("model.pth.tar-1", "TorchScript"):
        checkpoint_file.read(str(tmp_path / "model.pth.tar-1"))

"""A classifier from what a run tuned: for every method, and for all that may go wrong."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from dassl.data.datasets import DATASET_REGISTRY
from dassl.data.transforms import build_transform
from trainers.common import load_tuned
from trainers.common.inference.classifier import Classifier
from trainers.common.inference.saved_run import read_run

from ...test_every_method import FAST, METHODS, config

ROOT = str(Path(__file__).resolve().parents[4])


@pytest.fixture
def train(make):
    """train(method, *opts): a trainer that has run, on the digits zero to four."""

    def run(method, *opts, **kwargs):
        flags, keys = config(method)
        trainer = make(method, *keys, *FAST, "DATASET.SUBSAMPLE_CLASSES", "base", *opts, flags=flags, **kwargs)
        trainer.train()
        return trainer

    return run


def some_paths(trainer, n=8):
    return [item.impath for item in trainer.dm.dataset.test[:: len(trainer.dm.dataset.test) // n]][:n]


def evaluation_logits(trainer, paths):
    """Logits as the trainer's own evaluation gives them."""
    transform = build_transform(trainer.cfg, is_train=False)
    trainer.set_model_mode("eval")
    with torch.no_grad():
        return trainer.model_inference(torch.stack([transform(Image.open(p).convert("RGB")) for p in paths]))


@pytest.mark.parametrize("method", METHODS)
def test_every_method_predicts_as_its_evaluation(train, make, tmp_path, method):
    trainer = train(method)
    paths = some_paths(trainer)
    classifier = load_tuned(tmp_path / "run")
    assert classifier.classnames == trainer.dm.dataset.classnames == ["zero", "one", "two", "three", "four"]
    found = classifier.predict(paths)
    expected = evaluation_logits(trainer, paths)
    assert torch.allclose(found.logits, expected, atol=1e-5) and found.logits.std() > 0
    assert found.names == [classifier.classnames[i] for i in expected.argmax(-1)]

    if trainer.get_model_names():  # the small file alone, somewhere else
        shutil.move(tmp_path / "run" / trainer.model_name / "tuned.safetensors", tmp_path / "moved.safetensors")
        assert torch.equal(load_tuned(tmp_path / "moved.safetensors").predict(paths).logits, found.logits)

    if trainer.per_class:
        with pytest.raises(ValueError, match="cannot be used for other classes"):
            classifier.with_classes(["five", "six"])
        return
    flags, keys = config(method)
    new = make(method, *keys, *FAST, "DATASET.SUBSAMPLE_CLASSES", "new", flags=flags, output=tmp_path / "new")
    new.load_model(str(tmp_path / "run"))
    others = classifier.with_classes(new.dm.dataset.classnames)
    assert others.trainer.clip is classifier.trainer.clip
    assert torch.allclose(others.predict(paths).logits, evaluation_logits(new, paths), atol=1e-5)
    assert torch.equal(classifier.predict(paths).logits, found.logits)  # unchanged by the other


def test_forms_of_images(train, tmp_path):
    trainer = train("CLIPFit")
    classifier = load_tuned(str(tmp_path / "run"))
    paths = some_paths(trainer, 3)
    expected = classifier.predict(paths).logits
    opened = [Image.open(path).convert("RGB") for path in paths]
    arrays = [np.asarray(image) for image in opened]
    bytes_ = [torch.from_numpy(array.copy()).movedim(-1, 0) for array in arrays]
    prepared = torch.stack([classifier.preprocess(image) for image in opened])
    for images in (opened, arrays, bytes_, prepared, list(prepared), (p for p in paths), torch.stack(bytes_)):
        assert torch.allclose(classifier.predict(images, batch_size=2).logits, expected, atol=1e-5)
    for image in (paths[0], opened[0], arrays[0], bytes_[0], prepared[0]):  # one alone
        assert torch.allclose(classifier.predict(image).logits, expected[:1], atol=1e-5)
    features = classifier.features(paths)
    assert features.shape == (3, 64) and torch.allclose(features.norm(dim=-1), torch.ones(3))
    none = classifier.predict([])
    assert none.logits.shape == (0, 5) and none.names == [] and none.top() == []


def test_probabilities_and_top(train, tmp_path):
    trainer = train("CLIPFit")
    found = load_tuned(tmp_path / "run").predict(some_paths(trainer, 4))
    assert torch.allclose(found.probabilities.sum(-1), torch.ones(4))
    for name, row, probabilities in zip(found.names, found.top(3), found.probabilities, strict=True):
        assert row[0][0] == name and len(row) == 3
        assert [p for _, p in row] == sorted(probabilities.tolist(), reverse=True)[:3]
        assert all(probabilities[found.classnames.index(n)] == pytest.approx(p) for n, p in row)
    assert [len(row) for row in found.top(99)] == [5] * 4


def test_broken_images_are_named(train, tmp_path):
    train("CLIPFit")
    classifier = load_tuned(tmp_path / "run")
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    for path in ("broken.png", "missing.png"):
        with pytest.raises(OSError, match=path):
            classifier.predict([tmp_path / path])
    for image, kind in (
        (3, "int"), (torch.zeros(3, 7, 7), r"Tensor \(3, 7, 7\) torch.float32"), (np.zeros((4, 4, 3)), "float64"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), "Tensor .4, 4, 3. torch.uint8"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=f"an image must be a path.*got .*{kind}"):
            classifier.predict([image])
    with pytest.raises(ValueError, match="batch_size"):
        classifier.predict([], batch_size=0)


def test_precision_template_and_epoch(train, tmp_path):
    trainer = train("CLIPFit", "TRAIN.CHECKPOINT_FREQ", "1", "OPTIM.MAX_EPOCH", "2", "OPTIM.WARMUP_EPOCH", "-1")
    paths = some_paths(trainer)
    classifier = load_tuned(tmp_path / "run")
    first = load_tuned(tmp_path / "run", epoch=1)
    assert not torch.equal(first.predict(paths).logits, classifier.predict(paths).logits)
    half = load_tuned(tmp_path / "run", precision="bf16", device="cpu")
    assert half.trainer.precision == "bf16" and half.predict(paths).logits.dtype == torch.float32
    assert not torch.equal(half.predict(paths).logits, classifier.predict(paths).logits)
    assert torch.allclose(half.predict(paths).probabilities, classifier.predict(paths).probabilities, atol=0.1)
    other = load_tuned(tmp_path / "run", template="a drawing of {}.")
    assert not torch.equal(other.predict(paths).logits, classifier.predict(paths).logits)
    assert other.with_classes(["one"]).trainer.template == "a drawing of {}."


def test_the_runs_prompt_needs_no_dataset(train, tmp_path, monkeypatch):
    """As a library, nothing imports `datasets`, which knows the prompt of the run's dataset."""
    monkeypatch.setattr(DATASET_REGISTRY.get("Digits"), "template", "a drawing of a {}.")
    trainer = train("CLIPFit")
    monkeypatch.delitem(DATASET_REGISTRY._obj_map, "Digits")
    classifier = load_tuned(tmp_path / "run")
    assert trainer.template == classifier.trainer.template == "a drawing of a {}."
    assert classifier.with_classes(["one"]).trainer.template == "a drawing of a {}."


def test_the_wrong_backbone_is_refused(train, tiny_rn, tmp_path):
    train("CoOp")
    from tests.reference.models import random_clip, save_clip

    other = save_clip(random_clip("tiny", seed=1), tmp_path / "other.pt")
    with pytest.raises(ValueError, match="was tuned on the backbone .*tiny.pt .*but this run has .*other.pt"):
        load_tuned(tmp_path / "run", backbone=other)
    moved = shutil.copy(other, tmp_path / "gone.pt")
    with pytest.raises(ValueError, match="'.*gone.pt' is neither a file nor one of"):
        os.remove(moved)
        load_tuned(tmp_path / "run", backbone=moved)


def test_classes_that_cannot_be(train, tmp_path):
    train("CoOp", "TRAINER.COOP.CSC", "True", "TRAINER.COOP.CTX_INIT", "")
    classifier = load_tuned(tmp_path / "run")
    with pytest.raises(ValueError, match="tensors of its own for every class"):
        classifier.with_classes(["cat", "dog"])
    for names, message in (
        ([], "no class names"), ("cat", "come as a list"), (["cat", ""], "not empty"), (["cat", 3], "must be a text"),
        (["cat", "dog", "cat"], "'cat' is there twice"),
    ):  # fmt: skip
        with pytest.raises(ValueError, match=message):
            load_tuned(tmp_path / "run", names)


def test_runs_that_cannot_be_read(train, make, tmp_path):
    for path, message in (("nowhere", "no run at .*nowhere"), ("", "no checkpoint and no tuned.safetensors in ")):
        with pytest.raises(FileNotFoundError, match=message):
            load_tuned(tmp_path / path)
    train("CLIPFit")
    with pytest.raises(FileNotFoundError, match="model.pth.tar-7"):
        load_tuned(tmp_path / "run", epoch=7)
    with pytest.raises(ValueError, match="give the run's output folder"):
        load_tuned(tmp_path / "run" / "clipfit" / "model.pth.tar-1", epoch=1)
    with pytest.raises(ValueError, match="no device 'gpu'"):
        load_tuned(tmp_path / "run", device="gpu")
    shutil.copytree(tmp_path / "run" / "clipfit", tmp_path / "run" / "coop")
    with pytest.raises(ValueError, match="several methods tuned; give one: .*/clipfit, .*/coop"):
        load_tuned(tmp_path / "run")
    for name in ("coop", "clipfit"):
        shutil.rmtree(tmp_path / "run" / name)
    with pytest.raises(FileNotFoundError, match="the run has not saved one yet"):
        load_tuned(tmp_path / "run")
    foreign = tmp_path / "foreign.pth.tar"
    for meta in ({}, {"meta": "x", "settings": {}}, {"meta": {"trainer": "CLIPFit"}, "settings": {"a": 1}}):
        torch.save({"state_dict": {"ctx": torch.zeros(4, 8)}, "epoch": 1, **meta}, foreign)
        with pytest.raises(ValueError, match="does not say which method"):
            load_tuned(foreign)


def test_settings_that_are_unknown_here(train, tmp_path):
    """What only upstream or a later Dassl has concerns training; a method's own key does not."""
    trainer = train("CLIPFit")
    state, file = read_run(tmp_path / "run")
    paths = some_paths(trainer)
    expected = Classifier(state, file).predict(paths).logits
    state["settings"]["INPUT.LATER"] = "x"
    assert torch.equal(Classifier(state, file).predict(paths).logits, expected)
    state["meta"]["classnames"] = []  # as in a converted checkpoint
    assert Classifier(state, file, ["a", "b"]).predict(paths).logits.shape == (8, 2)
    with pytest.raises(ValueError, match="does not say which classes"):
        Classifier(state, file)
    state["meta"]["classnames"] = ["a"]
    state["settings"]["TRAINER.CLIPFIT.LATER"] = 3
    with pytest.raises(ValueError, match="the setting TRAINER.CLIPFIT.LATER 3, unknown to this version"):
        Classifier(state, file)


def test_three_lines_from_any_folder(train, tmp_path):
    trainer = train("CLIPFit")
    path = some_paths(trainer, 1)[0]
    script = (
        "from trainers.common import load_tuned\n"
        f"classifier = load_tuned({str(tmp_path / 'run')!r})\n"
        f"print(classifier.predict({path!r}).names)\n"
    )
    environment = {**os.environ, "PYTHONPATH": ROOT}
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout == f"{load_tuned(tmp_path / 'run').predict(path).names}\n" and done.stderr == ""

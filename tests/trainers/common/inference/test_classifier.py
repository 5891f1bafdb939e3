"""Loading runs as classifiers: every method, and errors."""

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
from tests.user_errors import raises_user_error
from trainers.common import load_tuned
from trainers.common.inference.classifier import Classifier
from trainers.common.runs.finished import read_run

from ...test_every_method import FAST, METHODS, config

ROOT = str(Path(__file__).resolve().parents[4])


@pytest.fixture
def train(make):
    """train(method, *opts) trains a method on the digits zero to four and returns the trainer."""

    def run(method, *opts, **kwargs):
        flags, keys = config(method)
        trainer = make(method, *keys, *FAST, "DATASET.SUBSAMPLE_CLASSES", "base", *opts, flags=flags, **kwargs)
        trainer.train()
        return trainer

    return run


def some_paths(trainer, n=8):
    return [item.impath for item in trainer.dm.dataset.test[:: len(trainer.dm.dataset.test) // n]][:n]


def evaluation_logits(trainer, paths):
    """Logits of the trainer's own evaluation."""
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
    predictions = classifier.predict(paths)
    expected = evaluation_logits(trainer, paths)
    assert torch.allclose(predictions.logits, expected, atol=1e-5) and predictions.logits.std() > 0
    assert predictions.names == [classifier.classnames[i] for i in expected.argmax(-1)]

    if trainer.get_model_names():  # tuned.safetensors works without the run directory
        shutil.move(tmp_path / "run" / trainer.model_name / "tuned.safetensors", tmp_path / "moved.safetensors")
        assert torch.equal(load_tuned(tmp_path / "moved.safetensors").predict(paths).logits, predictions.logits)

    if trainer.per_class:
        with raises_user_error("zero, one, two, ...", "five, six"):
            classifier.with_classes(["five", "six"])
        return
    flags, keys = config(method)
    new = make(method, *keys, *FAST, "DATASET.SUBSAMPLE_CLASSES", "new", flags=flags, output=tmp_path / "new")
    new.load_model(str(tmp_path / "run"))
    others = classifier.with_classes(new.dm.dataset.classnames)
    assert others.trainer.clip is classifier.trainer.clip
    assert torch.allclose(others.predict(paths).logits, evaluation_logits(new, paths), atol=1e-5)
    assert torch.equal(classifier.predict(paths).logits, predictions.logits)  # not affected by the other classifier


def test_types_of_images(train, tmp_path):
    trainer = train("CLIPFit")
    classifier = load_tuned(str(tmp_path / "run"))
    paths = some_paths(trainer, 3)
    expected = classifier.predict(paths).logits
    opened = [Image.open(path).convert("RGB") for path in paths]
    arrays = [np.asarray(image) for image in opened]
    uint8 = [torch.from_numpy(array.copy()).movedim(-1, 0) for array in arrays]
    prepared = torch.stack([classifier.preprocess(image) for image in opened])
    for images in (opened, arrays, uint8, prepared, list(prepared), (p for p in paths), torch.stack(uint8)):
        assert torch.allclose(classifier.predict(images, batch_size=2).logits, expected, atol=1e-5)
    for image in (paths[0], opened[0], arrays[0], uint8[0], prepared[0]):  # a single image
        assert torch.allclose(classifier.predict(image).logits, expected[:1], atol=1e-5)
    features = classifier.features(paths)
    assert features.shape == (3, 64) and torch.allclose(features.norm(dim=-1), torch.ones(3))
    none = classifier.predict([])
    assert none.logits.shape == (0, 5) and none.names == [] and none.top() == []


def test_probabilities_and_top(train, tmp_path):
    trainer = train("CLIPFit")
    result = load_tuned(tmp_path / "run").predict(some_paths(trainer, 4))
    assert torch.allclose(result.probabilities.sum(-1), torch.ones(4))
    for name, row, probabilities in zip(result.names, result.top(3), result.probabilities, strict=True):
        assert row[0][0] == name and len(row) == 3
        assert [p for _, p in row] == sorted(probabilities.tolist(), reverse=True)[:3]
        assert all(probabilities[result.classnames.index(n)] == pytest.approx(p) for n, p in row)
    assert [len(row) for row in result.top(99)] == [5] * 4


def test_errors_name_the_image(train, tmp_path):
    train("CLIPFit")
    classifier = load_tuned(tmp_path / "run")
    integers = np.full((4, 4), 7, np.int32)
    Image.fromarray(integers).save(tmp_path / "integers.tif")
    with raises_user_error(tmp_path / "integers.tif", "mode I", error=OSError):
        classifier.predict([tmp_path / "integers.tif"])
    for image in (integers, Image.fromarray(integers)):
        with raises_user_error("from 7 to 7", error=ValueError):
            classifier.predict([image])
    (tmp_path / "broken.png").write_bytes(b"\x89PNG no more")
    for path in ("broken.png", "missing.png"):
        with raises_user_error(tmp_path / path, error=OSError):
            classifier.predict([tmp_path / path])
    for image, description in (
        (3, "int"), (torch.zeros(3, 7, 7), "Tensor (3, 7, 7) torch.float32"), (np.zeros((4, 4, 5)), "float64"),
        (torch.zeros(4, 4, 3, dtype=torch.uint8), "Tensor (4, 4, 3) torch.uint8"),
    ):  # fmt: skip
        with raises_user_error("(3, 32, 32)", description, error=ValueError):
            classifier.predict([image])
    with raises_user_error("batch_size", "got 0"):
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


def test_the_prompt_of_a_run_needs_no_dataset(train, tmp_path, monkeypatch):
    """A library user does not import `datasets`, which has the prompt template of the run's dataset."""
    monkeypatch.setattr(DATASET_REGISTRY.get("Digits"), "template", "a drawing of a {}.")
    trainer = train("CLIPFit")
    monkeypatch.delitem(DATASET_REGISTRY._obj_map, "Digits")
    classifier = load_tuned(tmp_path / "run")
    assert trainer.template == classifier.trainer.template == "a drawing of a {}."
    assert classifier.with_classes(["one"]).trainer.template == "a drawing of a {}."


def test_another_backbone_is_refused(train, tiny_rn, tmp_path):
    train("CoOp")
    from tests.reference.models import random_clip, save_clip

    other = save_clip(random_clip("tiny", seed=1), tmp_path / "other.pt")
    with raises_user_error("tiny.pt", "other.pt", "--backbone"):
        load_tuned(tmp_path / "run", backbone=other)
    missing = tmp_path / "gone.pt"
    with raises_user_error("MODEL.BACKBONE.NAME", missing):
        load_tuned(tmp_path / "run", backbone=missing)


def test_invalid_classes(train, tmp_path):
    train("CoOp", "TRAINER.COOP.CSC", "True", "TRAINER.COOP.CTX_INIT", "")
    classifier = load_tuned(tmp_path / "run")
    with raises_user_error("zero, one, two, ...", "cat, dog"):
        classifier.with_classes(["cat", "dog"])
    for names, facts in (
        ([], ("class names",)),
        ("cat", ("list", "'cat'")),
        (["cat", ""], ("class name", "''")),
        (["cat", 3], ("class name", "3")),
        (["cat", "dog", "cat"], ("duplicate", "'cat'")),
        (["cat", "dog\x1b[2J"], ("class name", "U+001B")),
    ):
        with raises_user_error(*facts):
            load_tuned(tmp_path / "run", names)


def test_classes_of_the_run_may_have_equal_names(train, tmp_path):
    trainer = train("CLIPFit")
    state, file = read_run(tmp_path / "run")
    own = state["meta"]["classnames"] = ["zero", "one", "two", "one", "four"]
    paths = some_paths(trainer, 8)
    classifier = Classifier(state, file)
    predictions = classifier.predict(paths)
    labels = predictions.logits.argmax(-1).tolist()
    shown = ["zero", "one (class 1)", "two", "one (class 3)", "four"]
    assert classifier.classnames == predictions.classnames == own
    assert predictions.names == [shown[label] for label in labels]
    assert {name for name, _ in predictions.top(5)[0]} == set(shown)
    assert torch.equal(classifier.with_classes(own).predict(paths).logits, predictions.logits)
    with raises_user_error("duplicate", "'one'"):
        classifier.with_classes(own[::-1])
    state["meta"]["classnames"] = ["zero\n* accuracy: 99.99%", *own[1:]]
    with raises_user_error("class name", "U+000A"):
        Classifier(state, file)
    classifier = Classifier(state, file, ["a", "b"])  # other names do not need those of the run
    assert classifier.predict(paths).logits.shape == (8, 2)


def test_runs_that_cannot_be_read(train, make, tmp_path):
    with raises_user_error(tmp_path / "nowhere", error=FileNotFoundError):
        load_tuned(tmp_path / "nowhere")
    with raises_user_error("tuned.safetensors", tmp_path, error=FileNotFoundError):
        load_tuned(tmp_path)
    train("CLIPFit")
    with raises_user_error("model.pth.tar-7", error=FileNotFoundError):
        load_tuned(tmp_path / "run", epoch=7)
    file = tmp_path / "run" / "clipfit" / "model.pth.tar-1"
    with raises_user_error("epoch 1", file):
        load_tuned(file, epoch=1)
    with raises_user_error("'gpu'"):
        load_tuned(tmp_path / "run", device="gpu")
    shutil.copytree(tmp_path / "run" / "clipfit", tmp_path / "run" / "coop")
    with raises_user_error(tmp_path / "run" / "clipfit", tmp_path / "run" / "coop"):
        load_tuned(tmp_path / "run")
    for name in ("coop", "clipfit"):
        shutil.rmtree(tmp_path / "run" / name)
    with raises_user_error("checkpoint", tmp_path / "run", error=FileNotFoundError):
        load_tuned(tmp_path / "run")
    foreign = tmp_path / "foreign.pth.tar"
    for meta in ({}, {"meta": "x", "settings": {}}, {"meta": {"trainer": "CLIPFit"}, "settings": {"a": 1}}):
        torch.save({"state_dict": {"ctx": torch.zeros(4, 8)}, "epoch": 1, **meta}, foreign)
        with raises_user_error(foreign, "--model-dir", "tools/convert_checkpoint.py"):
            load_tuned(foreign)


def test_unknown_settings(train, tmp_path):
    """Unknown keys of upstream's or a later Dassl affect training only and are ignored; a method's own are refused."""
    trainer = train("CLIPFit")
    state, file = read_run(tmp_path / "run")
    paths = some_paths(trainer)
    expected = Classifier(state, file).predict(paths).logits
    state["settings"]["INPUT.LATER"] = "x"
    assert torch.equal(Classifier(state, file).predict(paths).logits, expected)
    state["meta"]["classnames"] = []  # as in a converted checkpoint
    assert Classifier(state, file, ["a", "b"]).predict(paths).logits.shape == (8, 2)
    with raises_user_error(file, "class names"):
        Classifier(state, file)
    state["meta"]["classnames"] = ["a"]
    state["settings"]["TRAINER.CLIPFIT.LATER"] = 3
    with raises_user_error("TRAINER.CLIPFIT.LATER 3"):
        Classifier(state, file)


def test_the_example_works_in_any_folder(train, tmp_path):
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

"""Interpolation between zero-shot CLIP and a run: accuracies, selection of alpha, and output files."""

import os
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pandas as pd
import pytest
import torch
from PIL import Image

from tests.tools.tuned import trained as every_trained  # noqa: F401  (fixture)
from tests.trainers.helpers import make_trainer
from tests.user_errors import assert_facts, assert_user_error
from tools import interpolate
from tools.exporting.common import merged_weights
from trainers.common import load_tuned
from trainers.common.runs import tuned_weights


@pytest.fixture
def trained(every_trained):  # noqa: F811
    """Runs on the micro CLIP: with a random CLIP, the accuracy would be the same for every alpha."""
    return lambda *args: every_trained(*(args or ("CLIPFit",)), backbone="micro")


@pytest.fixture
def call(trained, capsys, tmp_path):
    """call(*arguments, run=...) -> (exit code, stdout, stderr); writes to tmp_path / out."""

    default_run = trained().output_dir  # trained now, before a test changes the current folder

    def interpolate_run(*arguments, run=default_run):
        capsys.readouterr()
        out = ("--out", str(tmp_path / "out"), "--workers", "0")
        code = interpolate.main([str(run), *map(str, arguments), *out])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return interpolate_run


def accuracy(trainer):
    return trainer.test(split="test")


def make_other(trained, method, classes, folder):
    """Returns a new trainer with the dataset and the backbone of the run."""
    run = trained()
    options = ("DATASET.SUBSAMPLE_CLASSES", classes, "TRAINER.NAME", method)
    return make_trainer(method, run.cfg.DATASET.ROOT, run.cfg.MODEL.BACKBONE.NAME, folder, *options)


def test_accuracies(call, trained, tmp_path):
    code, out, err = call("--alphas", 1, 0, 0.25)
    assert code == 0, err
    results = pd.read_csv(tmp_path / "out" / "curve.csv")
    assert list(results.columns) == ["alpha", "val", "val_loss", "base", "new", "H"]
    assert list(results["alpha"]) == [0, 0.25, 1]
    run = trained()
    zero_shot = [
        accuracy(make_other(trained, "ZeroshotCLIP", classes, tmp_path / classes)) for classes in ("base", "new")
    ]
    assert results.loc[0, ["base", "new"]].tolist() == pytest.approx(zero_shot)
    assert results.loc[2, "base"] == pytest.approx(accuracy(run))
    images, labels = zip(*(run.parse_batch_test(batch) for batch in run.val_loader), strict=True)
    with torch.no_grad():
        loss = torch.nn.functional.cross_entropy(run.model_inference(torch.cat(images)), torch.cat(labels))
    assert results.loc[2, "val_loss"] == pytest.approx(loss.item(), rel=1e-5)
    for classes in ("base", "new"):  # alpha 0.25, by the plain formula
        trainer = make_other(trained, "CLIPFit", classes, tmp_path / f"{classes} again")
        for name, tensor in run.tuned.state_dict().items():
            zero = run.clip.get_parameter(name)
            trainer.tuned.get_parameter(name).data = 0.75 * zero + 0.25 * tensor
        assert results.loc[1, classes] == pytest.approx(accuracy(trainer))
    base, new = results.loc[1, "base"], results.loc[1, "new"]
    assert results.loc[1, "H"] == pytest.approx(2 / (1 / base + 1 / new))
    assert len({tuple(row) for row in results[["base", "new"]].values.tolist()}) > 1
    printed = [[float(cell) for cell in line.split()] for line in out.splitlines()[1:4]]
    assert printed == [pytest.approx(row, abs=0.006) for row in results.values.tolist()] and "curve.png" in out
    assert Image.open(tmp_path / "out" / "curve.png").size[0] > 500
    ElementTree.parse(tmp_path / "out" / "curve.svg")
    assert not list((tmp_path / "out").glob("*/tuned.safetensors"))


def test_a_run_on_all_classes_has_one_test_set(call, trained, tmp_path):
    code, _, err = call("--alphas", 0, 1, run=trained("CLIPFit", "DATASET.SUBSAMPLE_CLASSES", "all").output_dir)
    assert code == 0, err
    assert list(pd.read_csv(tmp_path / "out" / "curve.csv").columns) == ["alpha", "val", "val_loss", "test"]


def test_other_datasets_too(call, trained, tmp_path):
    code, _, err = call("--alphas", 1, "--also", "digits", "digits_noisy")
    assert code == 0, err
    results = pd.read_csv(tmp_path / "out" / "curve.csv")
    columns = ["alpha", "val", "val_loss", "base", "new", "digits", "digits_noisy", "H", "mean of --also"]
    assert list(results.columns) == columns
    trainer = make_other(trained, "CLIPFit", "all", tmp_path / "all")
    trainer.load_model(trained().output_dir)
    row = results.loc[0]
    assert row["digits"] == pytest.approx(accuracy(trainer)) and row["digits"] != row["digits_noisy"]
    assert row["mean of --also"] == pytest.approx((row["digits"] + row["digits_noisy"]) / 2)


def test_axes_of_the_plot():
    """Shifts over the run's test images, as in Figure 1 of WiSE-FT; New over Base for a run on base classes."""
    from tools.reporting.interpolation import draw

    rows = [{"alpha": a, "val": 1.0, "val_loss": 1.0, "test": 50 + a, "mean of --also": 40 - a} for a in (0, 0.5, 1)]
    curve, shifts = draw(pd.DataFrame(rows), "title", 0.5).axes
    assert shifts.lines[0].get_xydata().tolist() == [[50, 40], [50.5, 39.5], [51, 39]]
    assert [text.get_text() for text in shifts.texts] == ["0", "0.5", "1"]
    results = pd.DataFrame(rows).rename(columns={"test": "base"}).assign(new=[1, 2, 3])
    _, new, shifts = draw(results, "title", None).axes
    assert new.lines[0].get_ydata().tolist() == [1, 2, 3] and shifts.lines[0].get_ydata().tolist() == [40, 39.5, 39]


@pytest.mark.parametrize("method", ["LinearProbe", "TwoStage"])
def test_a_classifier_starts_from_the_text_features(call, trained, tmp_path, method):
    """Alpha 0 is zero-shot CLIP, alpha 1 the run, and between them all weights are means."""
    run = trained(method)
    assert call("--alphas", 0, 1, "--write", 0.5, run=run.output_dir)[0] == 0
    results = pd.read_csv(tmp_path / "out" / "curve.csv")
    for classes in ("base", "new"):
        zero_shot = accuracy(make_other(trained, "ZeroshotCLIP", classes, tmp_path / f"zero {classes}"))
        assert results.loc[0, classes] == pytest.approx(zero_shot)
    assert results.loc[2, "base"] == pytest.approx(accuracy(run))
    assert results.loc[2, "val_loss"] != results.loc[0, "val_loss"]
    middle = tuned_weights.read(str(tmp_path / "out" / run.model_name / tuned_weights.NAME))["state_dict"]
    for name, weights in run.zero_shot_weights(run.tuned.state_dict()).items():
        mean = (weights.cpu() + run.tuned.get_parameter(name)) / 2
        assert torch.allclose(middle[name], mean, atol=1e-6) and not torch.equal(middle[name], weights)


def test_the_best_alpha_is_selected_on_validation_images(call, trained, tmp_path, monkeypatch):
    val = iter([(10, 0.1), (30, 0.7), (30, 0.6), (30, 0.6), (20, 0.2)])  # accuracy and loss per alpha
    test = iter([99, 99, 50, 50, 1, 1, 50, 50, 70, 70])  # base and new

    def evaluate(trainer, tensors, split):
        return dict(zip(("accuracy", "loss"), next(val), strict=True)) if split == "val" else {"accuracy": next(test)}

    monkeypatch.setattr(interpolate, "evaluate", evaluate)
    code, out, _ = call("--alphas", 0, 0.25, 0.5, 0.75, 1, "--write", "best")
    path = tmp_path / "out" / "clipfit" / tuned_weights.NAME
    assert code == 0
    assert_facts(out.splitlines()[-1], "alpha 0.5", "validation", path)
    state = tuned_weights.read(str(path))
    assert state["meta"]["interpolation"] == {"alpha": 0.5, "chosen": "best on validation images"}
    run = trained()
    for name, tensor in run.tuned.state_dict().items():
        middle = (run.clip.get_parameter(name) + tensor) / 2
        assert torch.allclose(state["state_dict"][name], middle, atol=1e-6)
    trainer = make_other(trained, "CLIPFit", "new", tmp_path / "new")
    trainer.load_model(str(tmp_path / "out"))  # as with --model-dir
    assert torch.equal(trainer.tuned.state_dict()[name], state["state_dict"][name])


def test_a_given_alpha(call, trained, tmp_path):
    image = torch.randn(2, 3, 32, 32)
    logits = {}
    for alpha in (0, 1):
        assert call("--alphas", 0.5, "--write", alpha)[0] == 0
        assert pd.read_csv(tmp_path / "out" / "curve.csv")["alpha"].tolist() == sorted([alpha, 0.5])
        logits[alpha] = load_tuned(tmp_path / "out").predict(image).logits
    assert torch.equal(logits[1], load_tuned(trained().output_dir).predict(image).logits)
    zero = make_other(trained, "ZeroshotCLIP", "base", tmp_path / "zero")
    with torch.no_grad():
        assert torch.allclose(logits[0], zero.model_inference(image), atol=1e-5)


USER_ERRORS = {
    "alpha": (("--alphas", "0", "1.5"), ["--alphas", "0 and 1", "0.0 1.5"]),
    "write": (("--write", "good"), ["--write", "0 and 1", "best", "'good'"]),
    "write number": (("--write", "-1"), ["--write", "0 and 1", "best", "'-1'"]),
    "root": (("--root", "a_file"), ["a_file"]),
    "epoch": (("--epoch", "9"), ["model.pth.tar-9"]),
    "dataset": (("--also", "imagenet9"), ["--also", "imagenet9.yaml"]),
}


@pytest.mark.parametrize("name", USER_ERRORS)
def test_user_errors_are_one_line(call, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    arguments, facts = USER_ERRORS[name]
    result = call(*arguments)
    assert_user_error(result, *facts)
    assert result[1] == ""
    assert not (tmp_path / "out").exists()


def test_the_weights_of_a_run_are_not_replaced(trained, tmp_path, capsys):
    run = trained().output_dir
    weights = os.path.join(run, "clipfit", "tuned.safetensors")
    with open(weights, "rb") as file:
        before = file.read()
    capsys.readouterr()
    assert interpolate.main([run, "--write", "0.5", "--out", run]) == 1
    assert_user_error((1, capsys.readouterr().err), "--out", run)
    with open(weights, "rb") as file:
        assert file.read() == before
    assert not os.path.exists(os.path.join(run, "curve.csv"))


def test_methods_that_cannot_be_interpolated(call, trained):
    for method, *facts in (("CoOp", "ctx"), ("ZeroshotCLIP",)):
        assert_user_error(call(run=trained(method).output_dir), method, *facts, "CLIPFit")


def test_without_validation_images(call, trained, tmp_path, monkeypatch):
    monkeypatch.setattr("trainers.common.trainer.ClipTrainer.has_validation", lambda self: False)
    assert_user_error(call("--write", "best", "--alphas", 0), "--write best", "validation")
    assert not (tmp_path / "out").exists()
    assert call("--alphas", 0)[0] == 0
    assert list(pd.read_csv(tmp_path / "out" / "curve.csv").columns) == ["alpha", "base", "new", "H"]


def test_a_file_alone_needs_the_root(call, trained, tmp_path, monkeypatch):
    file = shutil.copy(Path(trained().output_dir) / "clipfit" / tuned_weights.NAME, tmp_path / "alone.safetensors")
    monkeypatch.chdir(tmp_path)
    assert call("--alphas", 0, "--root", trained().cfg.DATASET.ROOT, run=file)[0] == 0
    state = tuned_weights.read(file)
    tuned_weights.save({**state, "settings": {"TRAINER.NAME": "CLIPFit"}}, file)
    assert_user_error(call(run=file), file, "dataset")


@pytest.mark.parametrize("method", ["CLIPLoRA", "CLIPSVD"])
def test_changes_of_weights_interpolate_the_weights(digits_root, tiny, tmp_path, method):
    trainer = make_trainer(method, digits_root, tiny, tmp_path)
    for p in trainer.tuned.parameters():
        p.data += 0.1 * torch.randn(p.shape)
    tuned = {name: tensor.clone() for name, tensor in trainer.tuned.state_dict().items()}
    zero_shot = interpolate.zero_shot_weights(trainer, tuned)
    frozen, merged = trainer.clip.state_dict(), merged_weights(trainer)
    assert sum(not torch.equal(frozen[name], tensor) for name, tensor in merged.items()) > 4
    for alpha in (0, 0.3, 1):
        trainer.tuned.load_state_dict(interpolate.interpolate(zero_shot, tuned, alpha))
        for name, tensor in merged_weights(trainer).items():
            assert torch.allclose(tensor, torch.lerp(frozen[name], merged[name], alpha), atol=1e-5), name

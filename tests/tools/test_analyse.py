"""tools/analyse.py: numbers against plain loops, files, labels, what has no meaning for a method, user errors."""

import shutil
import sys
import xml.etree.ElementTree as ElementTree
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from dassl.data.transforms import build_transform
from tests.tools.tuned import trained  # noqa: F401  (a fixture)
from tests.trainers.helpers import make_trainer
from tests.user_errors import assert_user_error, raises_user_error
from tools import analyse
from tools.analysing import change as numbers
from tools.analysing.embedding import embed, shown_classes
from tools.analysing.features import Features, build_with_data, features, majority, separation
from tools.analysing.rank import rank, tune_value
from tools.analysing.runs import load_run, load_runs
from trainers.common.runs import trace_file

TRACE = ("TRAIN.TRACE", "True", "TRAIN.TRACE_TERMS", "2", "OPTIM.MAX_EPOCH", "4", "TEST.NO_TEST", "True")
QUICK = ("--images", "40", "--perplexity", "5", "--workers", "0")


@pytest.fixture
def kd(trained):  # noqa: F811
    return trained("CLIPFit", *TRACE)


@pytest.fixture
def none(trained):  # noqa: F811
    return trained("CLIPFit", *TRACE, "TRAINER.CLIPFIT.REG", "none")


@pytest.fixture
def call(capsys, tmp_path):
    """call(run, ..., options) -> (exit code, stdout, stderr); writes to tmp_path / out."""

    def analyse_runs(*arguments):
        capsys.readouterr()
        code = analyse.main([*map(str, arguments), "--out", str(tmp_path / "out")])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return analyse_runs


def test_change_equals_plain_loops(kd):
    rows = {row.tensor: row for row in numbers.change(load_run(kd.output_dir))}
    assert rows.keys() == kd.tuned.state_dict().keys()
    for name, tensor in kd.tuned.state_dict().items():
        pairs = zip(tensor.flatten().tolist(), kd.clip.get_parameter(name).flatten().tolist(), strict=True)
        assert rows[name].value == pytest.approx(sum((a - b) ** 2 for a, b in pairs), rel=1e-6)
        assert rows[name].scalars == tensor.numel()
    places = [(row.group, row.layer) for row in rows.values()]
    assert places[:3] == [
        ("Image LayerNorm weight", "ln_pre"), ("Image LayerNorm bias", "ln_pre"), ("Image LayerNorm weight", "0.ln_1"),
    ]  # fmt: skip
    assert places[-3:] == [("Text FFN output bias", f"{i}.mlp.c_proj") for i in range(3)]


def test_gradients_and_iterations_are_those_of_the_trace(kd):
    run = load_run(kd.output_dir)
    state = kd.trace.state()
    gradient = dict(zip(state["names"], state["gradient"].tolist(), strict=True))
    assert {row.tensor: row.value for row in numbers.gradients(run)} == gradient
    rows, values = numbers.iterations(run)
    changes = {row.tensor: row.value for row in numbers.change(run)}
    assert values.shape == (4, len(rows))
    assert [changes[row.tensor] for row in rows] == pytest.approx(values[-1].tolist(), rel=1e-5)
    terms = numbers.gradient_terms(run)
    assert list(terms) == ["ce", "kd"] and numbers.not_explained(run) < 1e-6
    expected = state["term_gradient"][0][:, 1].sum(0).tolist()
    assert {row.tensor: row.value for row in terms["kd"]} == pytest.approx(
        dict(zip(state["names"], expected, strict=True))
    )


def test_files_and_labels_of_several_runs(call, kd, none, tmp_path):
    code, out, err = call(kd.output_dir, none.output_dir, *QUICK)
    assert code == 0, err
    table = pd.read_csv(tmp_path / "out" / "change.csv")
    assert table["label"].unique().tolist() == ["REG kd", "REG none"]
    expected = {row.tensor: row.value for row in numbers.change(load_run(none.output_dir))}
    found = table[table["label"] == "REG none"].set_index("tensor")["value"].to_dict()
    assert found == pytest.approx(expected, rel=1e-12)  # unrounded
    plots = {path.name for path in (tmp_path / "out" / "plots").iterdir()}
    names = ["change", "gradients", "gradient-terms-REG-kd"]
    names += [f"{name}-{label}" for name in ("iterations", "tsne") for label in ("REG-kd", "REG-none")]
    assert plots == {f"{name}.{kind}" for name in names for kind in ("png", "pdf")}
    for path in (tmp_path / "out" / "plots").glob("*.png"):
        assert min(Image.open(path).size) > 400
    page = (tmp_path / "out" / "analysis.html").read_text()
    svgs = page.split("<svg ")[1:]
    assert len(svgs) == len(names) and "REG none" in page
    ElementTree.fromstring(f"<svg {svgs[0].partition('</svg>')[0]}</svg>")
    markdown = (tmp_path / "out" / "analysis.md").read_text()
    assert all(f"plots/{name}.png" in markdown for name in names)
    iterations = pd.read_csv(tmp_path / "out" / "iterations-REG-kd.csv")
    assert iterations["iteration"].tolist() == [1, 2, 3, 4] and iterations.shape[1] == 1 + len(kd.trace.names)
    assert "analysis.html" in out


def test_the_ranking_is_a_value_that_train_py_accepts(call, kd, tmp_path):
    run = load_run(kd.output_dir)
    changes = {row.tensor: row.value for row in numbers.change(run)}
    layernorms = rank(run)["image_layernorm"]
    by_hand = {}
    for tensor, value in changes.items():
        if tensor.startswith("visual."):
            layer = tensor.removeprefix("visual.").removeprefix("transformer.resblocks.").rpartition(".")[0]
            by_hand[layer] = by_hand.get(layer, 0) + value
    assert [layer.layer for layer in layernorms] == sorted(by_hand, key=by_hand.get, reverse=True)
    assert [layer.change for layer in layernorms] == sorted(by_hand.values(), reverse=True)
    code, out, _ = call(kd.output_dir, "--only", "rank", "--top", "2")
    assert code == 0
    commands = [line for line in out.splitlines() if line.startswith("TRAINER.")]
    key, _, value = commands[-1].partition(" ")
    assert "text_ffn_output_bias:" in commands[0] and "'image_layernorm'" in commands[0]
    assert key == "TRAINER.CLIPFIT.TUNE"
    following = make_trainer(
        "CLIPFit", kd.cfg.DATASET.ROOT, kd.cfg.MODEL.BACKBONE.NAME, tmp_path / "next", key, value.strip('"')
    )  # fmt: skip
    tuned = {name.rpartition(".")[0] for name in following.tuned.state_dict() if name.startswith("visual.")}
    assert len(tuned) == 2
    assert all(any(name.endswith(layer.layer) for name in tuned) for layer in layernorms[:2])
    assert sum("c_proj" in name for name in following.tuned.state_dict()) == 3  # the other set stays
    following.train()  # its ranking numbers the layers of the whole set
    again = load_run(str(tmp_path / "next"))
    assert {layer.number for layer in rank(again)["image_layernorm"]} == {layer.number for layer in layernorms[:2]}
    assert tune_value(again, "image_layernorm", 1)[-1] in {f"image_layernorm:{layer.layer}" for layer in layernorms[:2]}


def test_features_are_those_of_the_encoders_and_embeddings_are_seeded(kd):
    run = load_run(kd.output_dir)
    trainer = build_with_data(run, workers=0)
    found = features(trainer, images=12, seed=3)
    assert found.total == len(trainer.dm.dataset.test) > 12 == len(found.labels) and found.differ
    transform = build_transform(trainer.cfg, is_train=False)
    images = torch.stack([transform(Image.open(path).convert("RGB")) for path in found.paths])
    with torch.no_grad():
        assert np.allclose(found.tuned, trainer.encode_image(images).numpy(), atol=1e-5)
        assert np.allclose(found.zero_shot, trainer.encode_image(images, tuned=False).numpy(), atol=1e-5)
    assert [Path(path).parent.name for path in found.paths] == [found.classnames[i] for i in found.labels]
    again = features(trainer, images=12, seed=3)
    assert again.paths == found.paths
    one, other = (embed(f, list(range(5)), 5, seed=2) for f in (found, again))
    assert np.array_equal(one.tuned, other.tuned) and one.tuned.shape == (12, 2)
    assert features(trainer, images=12, seed=4).paths != found.paths


def test_separation_equals_plain_loops():
    rng = np.random.default_rng(0)
    labels = np.repeat([0, 1, 2], 6)
    vectors = np.eye(4)[labels] + 0.6 * rng.standard_normal((18, 4))
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    distance = 1 - vectors @ vectors.T
    silhouettes, correct = [], 0
    for i in range(18):
        means = {}
        for k in range(3):
            others = [distance[i, j] for j in range(18) if labels[j] == k and j != i]
            means[k] = sum(others) / len(others)
        own = means.pop(labels[i])
        other = min(means.values())
        silhouettes.append((other - own) / max(own, other))
        nearest = sorted((j for j in range(18) if j != i), key=lambda j: distance[i, j])[:5]
        correct += majority([labels[j] for j in nearest]) == labels[i]
    result = separation(vectors, labels)
    assert result["silhouette"] == pytest.approx(np.mean(silhouettes))
    assert result["neighbours"] == pytest.approx(100 * correct / 18)
    assert majority([2, 1, 1, 2, 3]) == 2  # a tie: the nearest
    assert np.isnan(list(separation(vectors[:4], np.zeros(4, int)).values())).all()


def test_classes_of_a_picture():
    names = [f"class{i}" for i in range(100)]
    assert shown_classes(names[:20]) == list(range(20))
    assert len(set(shown_classes(names))) == 20 and shown_classes(names)[0] == 0 and shown_classes(names)[-1] == 99
    assert shown_classes(names, ["class7", "class3"]) == [7, 3]
    for wrong in (["cat"], ["class1", "class1"], names):
        with pytest.raises(ValueError, match="--classes"):
            shown_classes(names, wrong)


def test_umap_is_used_where_installed(monkeypatch):
    """The package is a stand-in: it is optional."""

    class UMAP:
        def __init__(self, **options):
            self.options = options

        def fit_transform(self, vectors):
            assert self.options["random_state"] == 2 and self.options["n_neighbors"] == 3
            return vectors[:, :2]

    vectors = np.random.default_rng(0).random((8, 4))
    found = Features(vectors, vectors + 1, np.arange(8) % 2, [""] * 8, ["a", "b"], 8)
    monkeypatch.setitem(sys.modules, "umap", SimpleNamespace(UMAP=UMAP))
    result = embed(found, [0, 1], 3, "umap", 2)
    assert result.method == "UMAP" and np.array_equal(result.tuned, vectors[:, :2] + 1)
    monkeypatch.setitem(sys.modules, "umap", None)
    with pytest.raises(ModuleNotFoundError):
        embed(found, [0, 1], 3, "umap", 2)


def test_parameters_that_a_method_adds(call, trained, tmp_path):  # noqa: F811
    """Their initial value is in the trace. CoOp changes no image feature and tunes no parameter set."""
    coop = trained("CoOp", *TRACE)
    code, out, _ = call(coop.output_dir)
    assert code == 0
    notes = [line for line in out.splitlines() if line.startswith("Note: ")]
    assert len(notes) == 2 and "rank" in notes[0] and "CoOp" in notes[0] and "tsne" in notes[1] and "image" in notes[1]
    (row,) = pd.read_csv(tmp_path / "out" / "change.csv").to_dict("records")
    initial = coop.trace.initial[0]
    assert row["tensor"] == "ctx" and row["value"] == pytest.approx((coop.tuned.ctx - initial).square().sum().item())
    untraced = trained("CoOp").output_dir
    assert_user_error(call(untraced, "--only", "change"), untraced, "ctx", "TRAIN.TRACE True")
    both = trained("CoOp", "TRAINER.COOP.TUNE", "('image_layernorm',)").output_dir
    code, out, _ = call(both, "--only", "change", "rank")
    assert code == 0 and any("ctx" in line and "TRAIN.TRACE" in line for line in out.splitlines())
    assert "TRAINER.COOP.TUNE" in out


def test_the_best_epoch_has_the_change_of_its_step(trained):  # noqa: F811
    run = trained("CoOp", *TRACE, "TRAIN.CHECKPOINT_FREQ", "1")
    early = load_run(run.output_dir, epoch=2)
    (row,) = numbers.change(early)
    assert row.value == pytest.approx(run.trace.state()["change"][0][1].item())
    assert numbers.last_step(early) == 2


def test_runs_without_a_trace_say_how_to_make_one(call, trained, tmp_path):  # noqa: F811
    run = trained().output_dir
    code, out, _ = call(run, *QUICK)
    assert code == 0
    notes = [line for line in out.splitlines() if line.startswith("Note: ")]
    assert len(notes) == 2 and all("TRAIN.TRACE True" in note and run in note for note in notes)
    shutil.rmtree(tmp_path / "out")
    for name in ("gradients", "iterations"):
        assert_user_error(call(run, "--only", "change", name), run, "TRAIN.TRACE True")
    assert not (tmp_path / "out").exists()


def test_user_errors(call, trained, kd, tmp_path):  # noqa: F811
    run = kd.output_dir
    zero_shot = trained("ZeroshotCLIP", "TEST.NO_TEST", "True").output_dir
    assert_user_error(call(zero_shot), zero_shot, "ZeroshotCLIP")
    assert_user_error(call(run, zero_shot), zero_shot, "ZeroshotCLIP")
    assert_user_error(call(run, "--only", "gradient"), "'gradient'", "gradients", "tsne")
    assert_user_error(call(run, "--only", "tsne", *QUICK[2:], "--images", "5"), "perplexity 5", "got 5", "--perplexity")
    (tmp_path / "a_file").touch()
    assert_user_error(call(run, "--only", "tsne", "--root", tmp_path / "a_file"), tmp_path / "a_file")
    assert_user_error(call(run, "--only", "tsne", "--classes", "zero,cat"), "--classes", "'cat'", "zero, one")
    assert_user_error(call(run, "--top", "0"), "--top", "0")
    assert_user_error(call(run, run), run, "twice")
    assert_user_error(call(tmp_path / "no_run"), tmp_path / "no_run")
    assert not (tmp_path / "out").exists()


def test_no_test_images(kd):
    trainer = build_with_data(load_run(kd.output_dir), workers=0)
    trainer.dm.dataset._test = []
    with raises_user_error("Digits", "test images"):
        features(trainer)


def test_runs_of_different_backbones(call, trained, kd, tmp_path):  # noqa: F811
    run = trained("CLIPFit", "TEST.NO_TEST", "True", backbone="micro").output_dir
    assert_user_error(call(kd.output_dir, run), kd.output_dir, run, kd.cfg.MODEL.BACKBONE.NAME, "micro")
    assert_user_error(call(kd.output_dir, "--backbone", "micro"), "micro", "--backbone", kd.cfg.MODEL.BACKBONE.NAME)


def test_a_trace_of_another_run(call, kd, none, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(kd.output_dir, copy)
    shutil.copy(Path(none.output_dir) / trace_file.NAME, copy)
    assert_user_error(call(copy), copy / trace_file.NAME, "TRAIN.TRACE True")
    (copy / trace_file.NAME).write_bytes(b"not a trace")
    assert_user_error(call(copy), copy / trace_file.NAME)


def test_labels_name_what_differs(trained, kd, none):  # noqa: F811
    plain = trained("CoOp").output_dir
    assert [run.label for run in load_runs([kd.output_dir])] == ["CLIPFit"]
    assert [run.label for run in load_runs([kd.output_dir, plain])] == ["CLIPFit", "CoOp"]
    labels = [run.label for run in load_runs([kd.output_dir, none.output_dir, trained().output_dir])]
    assert all("REG" in label and "MAX_EPOCH" in label for label in labels) and len(set(labels)) == 3

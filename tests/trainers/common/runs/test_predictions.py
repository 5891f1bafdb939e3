"""Every evaluation writes its predictions and their metrics, and compares them with zero-shot CLIP."""

import csv
import hashlib
import json
import math

import numpy as np
import pytest
import torch

from trainers.common import metrics, outcomes, zero_shot
from trainers.common.runs import concerns, predictions
from trainers.common.runs.feature_store import SUFFIX


@pytest.fixture
def options(tmp_path):
    """Options with a store of predictions of this test, and few images: 20 for validation."""
    return ("DATALOADER.FEATURES", str(tmp_path / "store"), "TEST.SPLIT", "val")


def read(folder, name="result.json"):
    return json.loads((folder / name).read_text())


def rows_of(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def count_zero_shot(monkeypatch):
    """Returns a list that gets an entry for each computation of zero-shot predictions."""
    calls = []
    compute = zero_shot.compute
    monkeypatch.setattr(zero_shot, "compute", lambda *args: calls.append(1) or compute(*args))
    return calls


def test_the_predictions_of_a_training_and_their_metrics(make, tmp_path, options, digits_root):
    trainer = make("CLIPFit", *options)
    trainer.train()
    record = read(tmp_path / "run")
    written = record["trust"]["predictions"]
    path = tmp_path / "run" / written["file"]
    assert written == {
        "file": "predictions.csv",
        "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
        "images": len(trainer.dm.dataset.val),
    }
    rows = rows_of(path)
    for row, item in zip(rows, trainer.dm.dataset.val, strict=True):
        assert digits_root / row["path"] == type(digits_root)(item.impath)
        assert row["true_class"] == item.classname
    names = record["identity"]["classnames"]
    labels, predicted = (
        np.array([names.index(row[name]) for row in rows]) for name in ("true_class", "predicted_class")
    )
    values = record["metrics"]["val"]
    assert values["accuracy"] == pytest.approx(100 * (labels == predicted).mean())
    assert values["total"] == len(rows)
    assert values["accuracy_low"] < values["accuracy"] < values["accuracy_high"]
    assert values["balanced_accuracy"] == pytest.approx(100 * metrics.balanced_accuracy(labels, predicted, 10))
    assert values["macro_f1"] == pytest.approx(100 * metrics.macro_f1(labels, predicted, 10))
    of_true = [float(row["probability_of_true_class"]) for row in rows]
    assert values["nll"] == pytest.approx(-np.mean(np.log(of_true)), abs=1e-5)
    confidence = [float(row["probability"]) for row in rows]
    assert values["ece"] == pytest.approx(
        100 * metrics.calibration_errors(confidence, labels == predicted)[0], abs=1e-4
    )
    zero_shot = record["trust"]["zero_shot"]
    before = np.array([names.index(row["zero_shot_class"]) for row in rows])
    assert np.bincount(labels[before == labels], minlength=10).tolist() == zero_shot["correct"]
    assert ((before == labels) & (predicted != labels)).sum() == zero_shot["only_zero_shot"]
    assert all(0 < float(row["zero_shot_probability"]) <= 1 for row in rows)
    per_class = record["trust"]["per_class"]
    assert per_class["images"] == np.bincount(labels, minlength=10).tolist()
    assert sum(per_class["correct"]) == values["correct"]
    assert "auroc" not in values


def test_an_evaluation_in_the_folder_of_a_training_has_predictions_of_its_own(make, tmp_path, options):
    make("CLIPFit", *options).train()
    before = (tmp_path / "run" / "predictions.csv").read_bytes()
    trainer = make("CLIPFit", *options, "DATASET.SUBSAMPLE_CLASSES", "new")
    trainer.load_model(str(tmp_path / "run"))
    trainer.test()
    assert (tmp_path / "run" / "predictions.csv").read_bytes() == before
    written = read(tmp_path / "run", "evaluation-Digits-new-val.json")["trust"]["predictions"]
    assert written["file"] == "evaluation-Digits-new-val-predictions.csv"
    assert len(rows_of(tmp_path / "run" / written["file"])) == written["images"]


def test_the_predictions_of_another_finished_run_are_kept_with_its_record(make, tmp_path, options):
    make("CLIPFit", *options).test()
    before = (tmp_path / "run" / "predictions.csv").read_bytes()
    make("CLIPFit", *options, "DATASET.SUBSAMPLE_CLASSES", "base").test()
    (record,) = (tmp_path / "run").glob("result.json-*")
    kept = tmp_path / "run" / record.name.replace("result.json", "predictions.csv")
    assert kept.read_bytes() == before != (tmp_path / "run" / "predictions.csv").read_bytes()


def test_zero_shot_clip_is_evaluated_once_for_all_runs(make, tmp_path, options, monkeypatch, capsys):
    calls = count_zero_shot(monkeypatch)
    make("ZeroshotCLIP", *options, output=tmp_path / "zs").test()
    assert read(tmp_path / "zs")["trust"]["zero_shot"] is None and not calls
    reference = read(tmp_path / "zs")["metrics"]["val"]
    found = []
    for method in ("CLIPFit", "CoOp", "CLIPFit"):
        folder = tmp_path / f"{method}{len(found)}"
        make(method, *options, output=folder).train()
        found.append(read(folder)["trust"]["zero_shot"])
    assert len(calls) == 1 and [entry["stored"] for entry in found] == [False, True, True]
    for entry in found:
        assert entry["metrics"] == found[0]["metrics"]
        assert entry["metrics"]["accuracy"] == reference["accuracy"]
        assert entry["metrics"]["nll"] == pytest.approx(reference["nll"], rel=1e-5)
    record = read(folder)
    pairs = entry["only_run"] - entry["only_zero_shot"]
    assert pairs == record["metrics"]["val"]["correct"] - sum(entry["correct"])
    assert entry["p"] == pytest.approx(metrics.sign_test(entry["only_run"], entry["only_zero_shot"]))
    assert capsys.readouterr().out.count("kept for other runs") == 1


@pytest.mark.parametrize(
    "change",
    [("DATASET.TEMPLATE", "a sketch of {}"), ("DATASET.SUBSAMPLE_CLASSES", "base"), ("TEST.SPLIT", "test")],
    ids=lambda change: change[0],
)
def test_another_prompt_other_classes_or_other_images_are_predicted_again(make, tmp_path, options, monkeypatch, change):
    make("CLIPFit", *options).test()
    calls = count_zero_shot(monkeypatch)
    make("CLIPFit", *options, *change, output=tmp_path / "other").test()
    assert len(calls) == 1
    assert not read(tmp_path / "other")["trust"]["zero_shot"]["stored"]


# Methods with prompts of their own, a teacher with other prompts, inserted tokens, heads on stored features, ...
@pytest.mark.parametrize(
    "method, depths",
    [
        ("CoCoOp", ()),
        ("MaPLe", ("TRAINER.MAPLE.PROMPT_DEPTH", "2")),
        ("PromptSRC", ("TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", "2", "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", "2")),
        ("CLIP_Adapter", ()),
        ("LinearProbe", ()),
        ("TipAdapterF", ()),
        ("MMRL", ("TRAINER.MMRL.REP_LAYERS", "(1,2)")),
        ("CLIPLoRA", ()),
        ("FullFineTuning", ()),
    ],
)
def test_every_method_is_compared_with_the_same_zero_shot_clip(make, tmp_path, method, depths):
    reference = make("ZeroshotCLIP", output=tmp_path / "zs")
    trainer = make(method, *depths)
    batch = next(iter(trainer.test_loader))
    with torch.no_grad():
        for parameter in trainer.tuned.parameters():
            parameter.add_(torch.randn_like(parameter))  # as after a training
        expected = outcomes.of_logits(reference.model_inference(batch["img"]), batch["label"])
    found = zero_shot.compute(trainer, [batch], zero_shot.reference_prompts(trainer))
    for name in vars(expected):
        np.testing.assert_allclose(getattr(found, name), getattr(expected, name), rtol=1e-4, atol=1e-5, err_msg=name)


def test_corrupted_predictions_are_computed_again(make, tmp_path, options, monkeypatch, capsys):
    make("CLIPFit", *options).test()
    (path,) = (tmp_path / "store").rglob(f"*{SUFFIX}")
    content = bytearray(path.read_bytes())
    content[-5] ^= 1
    path.write_bytes(content)
    calls = count_zero_shot(monkeypatch)
    make("CLIPFit", *options, output=tmp_path / "again").test()
    assert len(calls) == 1 and str(path) in capsys.readouterr().out
    first, again = (read(tmp_path / name)["trust"]["zero_shot"]["metrics"] for name in ("run", "again"))
    assert first == again


def test_a_store_that_cannot_be_written_is_one_line(make, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    make("CLIPFit", "TEST.SPLIT", "val", "DATALOADER.FEATURES", str(tmp_path / "file" / "store")).test()
    notes = [line for line in capsys.readouterr().out.splitlines() if "DATALOADER.FEATURES" in line and "Note" in line]
    assert len(notes) == 1 and "zero-shot" in notes[0]
    assert read(tmp_path / "run")["trust"]["zero_shot"]["p"] <= 1


def test_off_and_in_another_order(make, tmp_path, capsys):
    make("CLIPFit", "TEST.SPLIT", "val", "TEST.ZERO_SHOT", "False").test()
    assert read(tmp_path / "run")["trust"]["zero_shot"] is None
    capsys.readouterr()
    make("CLIPFit", "DATALOADER.TEST.SAMPLER", "RandomSampler", output=tmp_path / "random").test()
    trust = read(tmp_path / "random")["trust"]
    assert trust["predictions"] is None and trust["zero_shot"] is None
    assert not (tmp_path / "random" / "predictions.csv").exists()
    assert "DATALOADER.TEST.SAMPLER" in capsys.readouterr().out


def test_images_without_a_true_class(make, tmp_path, capsys, options):
    trainer = make("CLIPFit", *options)
    trainer.dm.dataset.true_labels = False
    trainer.test()
    assert read(tmp_path / "run")["trust"] is None and not (tmp_path / "run" / "predictions.csv").exists()
    assert "Digits has images without a true class" in capsys.readouterr().out


def test_the_images_are_encoded_once(make, options, monkeypatch):
    """The evaluation itself has one forward pass; a second run has no other."""
    make("CLIPFit", *options).test()
    trainer = make("CLIPFit", *options)
    seen = []
    encode = trainer.encode_image
    monkeypatch.setattr(trainer, "encode_image", lambda image, *args: seen.append(len(image)) or encode(image, *args))
    trainer.test()
    assert sum(seen) == len(trainer.dm.dataset.val)


def test_validation_during_training_writes_nothing(make, tmp_path, options):
    trainer = make("CLIPFit", *options, "TEST.FINAL_MODEL", "best_val")
    trainer.test("val")
    assert set(trainer.run.metrics["val"]) == {"accuracy", "error_rate", "macro_f1", "total", "correct"}
    assert not (tmp_path / "run" / "predictions.csv").exists()


def of(labels, predicted, n_cls):
    logits = torch.nn.functional.one_hot(torch.tensor(predicted), n_cls) * 5.0
    return outcomes.of_logits(logits, torch.tensor(labels))


def test_concerns():
    names = ["a", "b", "c", "d"]
    labels = [0, 1, 2, 3] * 100
    perfect = of(labels, labels, 4)
    assert concerns.concerns(perfect, perfect, names) == []
    assert concerns.concerns(of([0] * 400, [0] * 400, 1), None, ["a"]) == []
    (few,) = concerns.concerns(of(labels[:80], labels[:80], 4), None, names)
    assert "80" in few and str(concerns.FEW_IMAGES) in few
    constant = concerns.concerns(of(labels, [1] * 400, 4), perfect, names)
    for line, facts in zip(
        constant, [("25.00 %", "100.00 %", "p < 1e-6"), ("25.00 %", "4 classes"), ("'b'", "100.0 %")], strict=True
    ):
        assert all(fact in line for fact in facts), line
    one_worse = of(labels, [1, *labels[1:]], 4)
    (line,) = concerns.concerns(one_worse, perfect, names)
    assert "p = 1" in line and "chance" in line


def test_a_frequent_class_does_not_swallow_all():
    labels = [0] * 380 + [1] * 20
    assert concerns.one_class(of(labels, labels, 2), ["a", "b"]) == []
    (line,) = concerns.one_class(of(labels, [0] * 399 + [1], 2), ["a", "b"])
    assert "95.0 %" in line


def test_outputs_that_are_not_logits_are_noted():
    collector = predictions.Collector()
    collector.add(torch.zeros(2, 3), torch.tensor([0, 1]))
    assert len(collector.outcomes()) == 2
    collector.add({"boxes": 1}, None)
    assert collector.outcomes() is None


def test_names_and_paths_in_the_table(tmp_path):
    found = of([0, 1], [1, 1], 2)
    items = [
        type("Item", (), {"impath": str(tmp_path / "data" / "a, b.jpg")}),
        type("Item", (), {"impath": "/x/c.jpg"}),
    ]
    predictions.write_csv(str(tmp_path / "p.csv"), found, items, str(tmp_path / "data"), ["crane", "crane"])
    rows = rows_of(tmp_path / "p.csv")
    assert [row["path"] for row in rows] == ["a, b.jpg", "/x/c.jpg"]
    assert [row["predicted_class"] for row in rows] == ["crane (class 1)"] * 2
    assert math.isclose(float(rows[0]["probability"]), found.confidence[0], rel_tol=1e-6)

"""`tools/robustness.py`: accuracies against plain loops, resuming, files, corrupted images on disk, user errors."""

import csv
import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests.tools.tuned import trained  # noqa: F401  (a fixture)
from tests.user_errors import assert_user_error
from tools import robustness
from tools.corrupting import evaluation, images
from tools.corrupting.catalogue import Condition, corrupt
from tools.corrupting.models import Model
from trainers.common import load_tuned
from trainers.common.runs.image_hashes import image_keys

FAST = ("--workers", "0", "--images", "30")
SMALL = ("--workers", "0", "--images", "10")
FEW = ("--corruptions", "gaussian_noise", "contrast", "--severities", "1", "4")


@pytest.fixture
def runs(trained):  # noqa: F811
    """CLIPFit with two seeds, CoOp, zero-shot CLIP."""
    other = trained("CLIPFit", "SEED", "2")
    zero_shot = trained("ZeroshotCLIP", "TEST.NO_TEST", "True")
    return {"one": trained(), "two": other, "coop": trained("CoOp"), "zero-shot": zero_shot}


@pytest.fixture
def call(capsys, tmp_path):
    """call(run, ..., options) -> (exit code, stdout, stderr); writes to tmp_path / out."""

    def evaluate(*arguments, out="out"):
        capsys.readouterr()
        arguments = [getattr(argument, "output_dir", argument) for argument in arguments]
        code = robustness.main([*map(str, arguments), "--out", str(tmp_path / out)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return evaluate


def results(folder) -> dict:
    """Returns (method, seed, condition, level) -> row of results.csv."""
    with open(folder / "results.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["method"], row["seed"], row["condition"], row["level"]): row for row in rows}


def test_accuracies_are_those_of_plain_loops(call, runs, tmp_path):
    one, two, coop, zero = runs.values()
    code, _, err = call(one, two, coop, zero, *FEW, "--sweep", "jpeg", "--levels", "30", "--workers", "0")
    assert code == 0, err
    rows = results(tmp_path / "out")
    assert {key[:2] for key in rows} == {
        ("zero-shot CLIP", ""), ("CLIPFit", "1"), ("CLIPFit", "2"), ("CoOp", "1"),
    }  # fmt: skip
    for label, seed, trainer in (("CLIPFit", "1", one), ("CLIPFit", "2", two), ("CoOp", "1", coop)):
        trainer.test()
        assert float(rows[label, seed, "clean", "0"]["accuracy"]) == trainer.run.metrics["test"]["accuracy"]
    zero.test()
    assert float(rows["zero-shot CLIP", "", "clean", "0"]["accuracy"]) == zero.run.metrics["test"]["accuracy"]
    test = one.dm.dataset.test
    keys = image_keys([item.impath for item in test])
    classifier = load_tuned(one.output_dir)
    for condition in (Condition("gaussian_noise", 4), Condition("jpeg", 30)):
        arrays = []
        for item in test:
            pixels = np.asarray(Image.open(item.impath).convert("RGB").resize((32, 32), Image.BICUBIC))
            arrays.append(corrupt(pixels, condition, keys[item.impath], 1))
        predicted = classifier.predict(arrays, batch_size=100).logits.argmax(1).tolist()
        expected = 100 * np.mean([p == item.label for p, item in zip(predicted, test, strict=True)])
        row = rows["CLIPFit", "1", condition.name, str(condition.level)]
        assert float(row["accuracy"]) == pytest.approx(expected) and int(row["images"]) == len(test)
        same = [rows[key]["pixels"] for key in rows if key[2:] == (condition.name, str(condition.level))]
        assert len(set(same)) == 1 and len(same) == 4
        gained, lost = int(row["only run correct"]), int(row["only zero-shot correct"])
        assert gained - lost == round((expected - float(row["zero-shot"])) * len(test) / 100)


def test_orders_batches_and_workers_change_no_pixel(call, runs, tmp_path):
    pixels = []
    for i, options in enumerate((("--workers", "0"), ("--workers", "2", "--batch-size", "7"))):
        arguments = [*FEW[:3], "--severities", *("14" if i else "41"), "--images", "30", *options]
        assert call(runs["one"], *arguments, out=f"out{i}")[0] == 0
        pixels.append({key[2:]: row["pixels"] for key, row in results(tmp_path / f"out{i}").items()})
    assert pixels[0] == pixels[1] and len(set(pixels[0].values())) == 5
    assert call(runs["one"], *FEW, *FAST, "--seed", "2", out="out2")[0] == 0
    other = {key[2:]: row["pixels"] for key, row in results(tmp_path / "out2").items()}
    assert other["gaussian_noise", "4"] != pixels[0]["gaussian_noise", "4"]


def test_a_killed_evaluation_resumes(call, runs, tmp_path, monkeypatch):
    finish, finished = evaluation.Pending._finish, []

    def killed(self, number):
        if len(finished) == 2:
            raise KeyboardInterrupt
        finished.append(number)
        finish(self, number)

    monkeypatch.setattr(evaluation.Pending, "_finish", killed)
    code, _, err = call(runs["one"], *FEW, *FAST)
    assert code == 130 and "same command" in err and not (tmp_path / "out" / "robustness.html").exists()
    assert len(list((tmp_path / "out" / "pixels").iterdir())) == 1
    monkeypatch.setattr(evaluation.Pending, "_finish", finish)
    monkeypatch.setattr(evaluation, "write_pixels", lambda *args: pytest.fail("the images are decoded already"))
    predictions = []
    predict = Model.predict
    monkeypatch.setattr(Model, "predict", lambda self, image: predictions.append(len(image)) or predict(self, image))
    code, out, _ = call(runs["one"], *FEW, *FAST)
    assert code == 0 and "4 of 10" in out and sum(predictions) == 2 * 3 * 30
    assert list((tmp_path / "out" / "pixels").iterdir()) == []
    again = results(tmp_path / "out")
    predictions.clear()
    (broken, *_) = (tmp_path / "out" / "results").glob("*/contrast_4.json")
    broken.write_text("{")
    monkeypatch.undo()
    monkeypatch.setattr(Model, "predict", lambda self, image: predictions.append(len(image)) or predict(self, image))
    code, out, _ = call(runs["one"], *FEW, *FAST)
    assert code == 0 and f"{broken} is corrupted" in out and sum(predictions) == 30
    assert results(tmp_path / "out") == again
    predictions.clear()
    code, out, _ = call(runs["one"], runs["coop"], *FEW, *FAST)  # only the new run is evaluated
    assert code == 0 and sum(predictions) == 5 * 30


def test_the_page(call, runs, tmp_path):
    one, two, coop, _ = runs.values()
    code, out, _ = call(
        one, two, coop, "--corruptions", "blur", "saturate", "--severities", "2", "5", "--sweep", "grey", *SMALL
    )
    assert code == 0
    folder = tmp_path / "out"
    page, markdown = (folder / "robustness.html").read_text(), (folder / "robustness.md").read_text()
    plots = {path.stem for path in (folder / "plots").glob("*.png")}
    assert plots == {"severity", "corruptions", "heat-map", "heat-map-difference", "sweep-grey"}
    for svg in page.split("<svg ")[1:]:
        ElementTree.fromstring(f"<svg {svg.partition('</svg>')[0]}</svg>")
    assert all(f"plots/{name}.png" in markdown for name in plots) and "32 pixels" in page and "mCE" not in page
    with open(folder / "overview.csv", newline="") as file:
        overview = {row["method"]: row for row in csv.DictReader(file)}
    rows = results(folder)
    counted = [key for key in rows if key[0] == "CLIPFit" and key[2] not in ("clean", "grey", "saturate")]
    assert len(counted) == 2 * 4 * 2
    mean = np.mean([float(rows[key]["accuracy"]) for key in counted])
    assert float(overview["CLIPFit"]["corrupted"]) == pytest.approx(mean) and overview["CLIPFit"]["seeds"] == "2"
    record = json.loads((folder / "robustness.json").read_text())
    assert record["images"] == 10 and len(record["results"]) == len(rows) and record["dataset"] == "Digits"
    assert "robustness.html" in out and "Glass blur" in out


def test_corrupted_images_of_a_folder(call, runs, tmp_path):
    """As ImageNet-C has them: <corruption>/<severity>/<class>/<file>."""
    one = runs["one"]
    for item in one.dm.dataset.test:
        path = tmp_path / "c" / "frost" / "3" / Path(item.impath).parent.name / Path(item.impath).name
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.asarray(Image.open(item.impath).convert("RGB").resize((32, 32), Image.BICUBIC))
        Image.fromarray(255 - pixels).save(path)
    options = ("--corruptions", "frost", "--severities", "3", "--workers", "0", "--corrupted-images", tmp_path / "c")
    code, out, err = call(one, *options)
    assert code == 0, err
    rows = results(tmp_path / "out")
    inverted = [tmp_path / "c/frost/3" / Path(i.impath).parent.name / Path(i.impath).name for i in one.dm.dataset.test]
    predicted = load_tuned(one.output_dir).predict(inverted, batch_size=100).logits.argmax(1).tolist()
    expected = np.mean([p == item.label for p, item in zip(predicted, one.dm.dataset.test, strict=True)])
    assert float(rows["CLIPFit", "1", "frost", "3"]["accuracy"]) == pytest.approx(100 * expected)
    assert str(tmp_path / "c") in out
    before = rows["CLIPFit", "1", "frost", "3"]["pixels"]
    assert call(one, *options, "--sweep", "grey", "--levels", "50")[0] == 0  # which the folder does not have
    Image.new("RGB", (32, 32)).save(inverted[0])
    assert call(one, *options)[0] == 0  # another file is another result
    assert results(tmp_path / "out")["CLIPFit", "1", "frost", "3"]["pixels"] != before
    inverted[1].unlink()
    assert_user_error(call(one, *options), "--corrupted-images", "1 of", inverted[1])
    assert_user_error(call(one, *options[:-1], "imagenet_c"), "--corrupted-images imagenet_c", "imagenet-c")


USER_ERRORS = {
    "name": (("--corruptions", "rain"), ["--corruptions", "'rain'", "fog"]),
    "severity": (("--severities", "6"), ["--severities", "5", "6"]),
    "workers": (("--workers", "-1"), ["--workers", "0", "-1"]),
    "images": (("--images", "0"), ["--images", "1", "0"]),
    "sweep": (("--sweep", "zoom"), ["--sweep", "'zoom'", "resolution"]),
    "levels": (("--sweep", "resolution", "--levels", "40"), ["--levels", "40", "32"]),
    "root": (("--root", "a_file", *FEW), ["a_file"]),
    "epoch": (("--epoch", "9", *FEW), ["model.pth.tar-9"]),
}


@pytest.mark.parametrize("name", USER_ERRORS)
def test_user_errors(call, runs, name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    options, facts = USER_ERRORS[name]
    assert_user_error(call(runs["one"], *options), *facts)
    assert not (tmp_path / "out").exists()


def test_runs_that_cannot_be_compared(call, runs, trained, tmp_path):  # noqa: F811
    one = runs["one"]
    assert_user_error(call(one, one, *FEW), one.output_dir, "twice")
    copy = shutil.copytree(one.output_dir, tmp_path / "copy")
    assert_user_error(call(one, copy, *FEW), one.output_dir, copy, "seed")
    full = trained("CLIPFit", "DATASET.SUBSAMPLE_CLASSES", "all", "TEST.NO_TEST", "True")
    assert_user_error(call(one, full, *FEW), "DATASET.SUBSAMPLE_CLASSES", full.output_dir, "all")
    assert_user_error(call(tmp_path / "none", *FEW), tmp_path / "none")


def test_a_full_disk_is_known_before_images_are_decoded(call, runs, monkeypatch):
    monkeypatch.setattr(images, "FREE_BYTES", 1 << 60)
    code, _, err = call(runs["one"], *FEW, *FAST)
    assert_user_error((code, err.splitlines()[-1]), "GB", "--out", "--images")

"""tools/calibrate.py: results against plain loops over the images, the use by predict and export, and user errors."""

import csv
import json
import shutil
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from tests.tools.tuned import trained as every_trained  # noqa: F401  (fixture)
from tests.user_errors import assert_facts, assert_user_error, raises_user_error
from tools import calibrate, export, predict
from tools.calibrating import images as calibration_images
from tools.calibrating.images import find_candidates
from trainers.common import load_tuned
from trainers.common.inference import calibration
from trainers.common.inference.temperature import fit_temperature


@pytest.fixture(scope="module")
def trained(every_trained):  # noqa: F811
    """Runs on the micro CLIP with 16 shots: 20 validation images of the digits zero to four."""
    return lambda *args: every_trained(*(args or ("CLIPFit",)), "DATASET.NUM_SHOTS", "16", backbone="micro")


def run_tool(tool, capsys, *arguments):
    """Returns (exit code, stdout, stderr)."""
    capsys.readouterr()
    code = tool.main([*map(str, arguments)])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.fixture(scope="module")
def calibrated(trained, tmp_path_factory):
    """A run directory with a calibration by the default options. Tests copy it."""
    folder = tmp_path_factory.mktemp("calibrated") / "run"
    shutil.copytree(trained().output_dir, folder)
    assert calibrate.main([str(folder), "--workers", "0"]) == 0
    return folder


@pytest.fixture
def call(trained, calibrated, capsys, tmp_path):
    """call(*arguments, run=..., tool=...) -> (exit code, stdout, stderr), for a copy of a run in tmp_path / run.

    `call.calibrated()` makes the copy of a run that is calibrated.
    """

    def calibrate_run(*arguments, run=None, tool=calibrate):
        folder = tmp_path / "run"
        if not folder.exists():
            shutil.copytree(run or trained().output_dir, folder)
        options = ("--workers", "0") if tool is calibrate else ()
        return run_tool(tool, capsys, folder, *arguments, *options)

    def copy_calibrated():
        shutil.copytree(calibrated, tmp_path / "run")

    calibrate_run.calibrated = copy_calibrated
    calibrate_run.folder = tmp_path / "run"
    calibrate_run.file = tmp_path / "run" / "calibration.json"
    return calibrate_run


def content(path) -> dict:
    return json.loads(Path(path).read_text())


def predicted(run, items):
    """Logits (n, n_cls) and labels (n,) by `load_tuned`."""
    logits = load_tuned(run).predict([item.impath for item in items]).logits
    return logits.numpy(), np.array([item.label for item in items])


def test_a_calibration_and_its_test(call, trained):
    code, out, err = call("--coverage", 0.8, 0.9)
    assert code == 0, err
    run = trained()
    found = content(call.file)
    val_logits, val_labels = predicted(call.folder, run.dm.dataset.val)
    logits, labels = predicted(call.folder, run.dm.dataset.test)
    temperature = fit_temperature(val_logits, val_labels)
    assert found["temperature"] == pytest.approx(temperature, rel=1e-4) and temperature != 1
    before, after = found["test"]["metrics"]
    assert (before["temperature"], after["temperature"]) == (1, found["temperature"])
    assert before["accuracy"] == after["accuracy"] == pytest.approx(100 * (logits.argmax(1) == labels).mean())
    nll = F.cross_entropy(torch.tensor(logits).double() / temperature, torch.tensor(labels)).item()
    assert after["nll"] == pytest.approx(nll, rel=1e-4) and after["nll"] != before["nll"]
    val = torch.tensor(val_logits).double().softmax(1).numpy()
    test = torch.tensor(logits).double().softmax(1).numpy()
    scores = sorted(1 - val[i, label] for i, label in enumerate(val_labels))
    assert found["conformal"]["scores"] == pytest.approx(scores, abs=1e-6)
    for sets, rank in zip(found["test"]["sets"], (17, 19), strict=True):  # ceil(21 * 0.8), ceil(21 * 0.9)
        contained = [[1 - p <= scores[rank - 1] + 1e-7 for p in row] for row in test]
        covered = [row[label] for row, label in zip(contained, labels, strict=True)]
        assert sets["measured"] == pytest.approx(np.mean(covered), abs=0.004)  # rounding at the threshold
        assert sets["mean_size"] == pytest.approx(np.mean(np.sum(contained, axis=1)), abs=0.02)
        assert sum(n for n, _, _ in sets["per_class"]) == len(labels) == found["images"]["test"]["images"]
        low, high = sets["interval"]
        assert low <= sets["measured"] <= high
    assert found["images"]["source"] == "val" and found["images"]["calibration"]["images"] == 20
    printed = [line for line in out.splitlines() if line.startswith("90 %")]
    assert len(printed) == 1 and f"{100 * found['test']['sets'][1]['measured']:.2f} %" in printed[0]


def test_the_diagram_and_the_table(call):
    call.calibrated()
    folder = call.folder / "calibration"
    assert Image.open(folder / "reliability.png").size[0] > 500
    light, dark = (folder / f"reliability_{theme}.svg" for theme in ("light", "dark"))
    ElementTree.parse(light)
    assert light.read_text() != dark.read_text()
    with (folder / "per_class.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["class"] for row in rows] == ["zero", "one", "two", "three", "four"]
    for row in rows:
        assert float(row["measured"]) == pytest.approx(int(row["covered"]) / int(row["images"]))
        assert float(row["low"]) <= float(row["measured"]) <= float(row["high"])


def test_predictions_are_calibrated(call, trained, tmp_path):
    path = trained().dm.dataset.test[0].impath
    own = call(path, tool=predict)
    assert own[2] == ""
    assert_user_error(call(path, "--conformal", 0.9, tool=predict), call.folder, "tools/calibrate.py")
    assert call("--score", "aps")[0] == 0
    code, out, err = call(path, tool=predict)
    temperature = content(call.file)["temperature"]
    assert code == 0
    assert_facts(err, f"temperature {temperature:.4g}", call.file, "--uncalibrated")
    classifier = load_tuned(call.folder)
    logits = classifier.predict(path).logits
    expected = (logits / temperature).softmax(-1).max().item()
    assert out != own[1] and f"{100 * expected:.2f}%" in out
    assert call(path, "--uncalibrated", tool=predict) == own
    with raises_user_error("calibration", "tools/calibrate.py"):
        classifier.predict(path).sets()

    paths = [item.impath for item in trained().dm.dataset.test[::9]]
    sets = load_tuned(call.folder, calibrated=True).predict(paths).sets(0.8)
    assert len({len(names) for names in sets}) > 1
    options = (*paths, "--conformal", 0.8, "--batch-size", 4, "--uncalibrated")
    _, _, err = call(*options, "--csv", tmp_path / "p.csv", "--json", tmp_path / "p.json", tool=predict)
    assert "temperature" not in err
    with (tmp_path / "p.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [json.loads(row["set"]) for row in rows] == sets  # the same random numbers in batches of 4 and of 32
    assert [int(row["set_size"]) for row in rows] == [len(names) for names in sets]
    assert [item["set"] for item in content(tmp_path / "p.json")] == sets
    lines = call(*options, tool=predict)[1].splitlines()
    assert [line.rpartition("{")[2] for line in lines] == [", ".join(names) + "}" for names in sets]
    assert_user_error(call(path, "--conformal", 0.99, tool=predict), "0.99", "99", "20", call.file)
    for coverage in ("0", "1.5", "nan"):
        assert_user_error(call(path, "--conformal", coverage, tool=predict), "--conformal", coverage, "0.9")
    assert_user_error(call(path, "--conformal", "0.9", "--search", "a", tool=predict), "--conformal", "--search")


def test_a_calibration_holds_for_one_model(call, trained):
    """Other classes, another prompt, other weights and a changed file are refused, each by name."""
    path = trained().dm.dataset.test[0].impath
    call.calibrated()

    def refused(*options, facts):
        code, _, err = call(path, *options, tool=predict)  # a note, and the model's own probabilities
        assert code == 0
        assert_facts(err.splitlines()[-1], "Note: ", call.file, *facts)
        code, _, err = call(path, *options, "--conformal", 0.9, tool=predict)
        assert_user_error((code, err.splitlines()[-1]), call.file, *facts)

    refused("--classes", "cat,dog", facts=["zero, one, two, ...", "cat, dog"])
    refused("--template", "a drawing of {}.", facts=["prompts", "--template"])
    other = trained("CoOp").output_dir
    shutil.copy(call.file, Path(other) / "calibration.json")
    with raises_user_error(other, "CLIPFit", "CoOp"):
        load_tuned(other, calibrated=True)
    classifier = load_tuned(call.folder)
    name = next(iter(classifier.state["state_dict"]))
    classifier.state["state_dict"][name][0] += 1
    with raises_user_error(call.file, "weights", "--epoch"):
        classifier.use_calibration()
    call.file.write_text(call.file.read_text().replace('"temperature": ', '"temperature": 1'))
    refused(facts=["changed", "tools/calibrate.py"])
    call.file.write_text("[]")
    refused(facts=["corrupted", "tools/calibrate.py"])


def test_new_classes_have_a_calibration_of_their_own(call, trained, capsys):
    new = ["five", "six", "seven", "eight", "nine"]
    call.calibrated()
    classifier = load_tuned(call.folder, calibrated=True)
    capsys.readouterr()
    assert classifier.with_classes(new).calibration is None
    assert_facts(capsys.readouterr().err, "not calibrated", "five, six, seven, ...")
    assert call("--classes", "new")[0] == 0
    other = classifier.with_classes(new)
    assert other.calibration.path == str(call.folder / "calibration-new.json")
    assert classifier.calibration.path == str(call.file) and capsys.readouterr().err == ""
    assert (call.folder / "calibration" / "reliability-new.png").is_file()
    assert content(call.folder / "calibration-new.json")["model"]["classnames"] == new


def test_exports_name_the_temperature(call):
    assert "temperature" not in content(exported(call) / "classes.json")
    shutil.rmtree(call.folder)
    call.calibrated()
    path = exported(call)
    assert content(path / "classes.json")["temperature"] == content(call.file)["temperature"]


def exported(call):
    code, out, err = call("--to", "head", "--overwrite", tool=export)
    assert code == 0, err
    assert ("calibration.json" in out) == call.file.exists()
    return call.folder / "exported" / "head"


def test_other_images(call, trained):
    """None of them is an image that the run was trained or is tested on."""
    dataset = trained().dm.dataset
    used = {item.impath for item in (*dataset.train_x, *dataset.test)}
    val = {item.impath for item in dataset.val}
    for source in ("all_val", "unused_train"):
        paths = {item.impath for item in find_candidates(trained(), source)}
        assert len(paths) > 100 and not paths & used and (val < paths) == (source == "all_val")
    assert call("--images", "all_val", "--max-images", 30, "--coverage", 0.95)[0] == 0
    first = content(call.file)
    assert first["images"]["source"] == "all_val" and first["images"]["calibration"]["images"] == 30
    call("--images", "all_val", "--max-images", 30, "--coverage", 0.95)
    assert content(call.file) == first


def test_copies_of_test_images_are_left_out(trained, tmp_path):
    run = trained()
    val = run.dm.dataset.val
    copy = shutil.copy(run.dm.dataset.test[0].impath, tmp_path / "copy.png")
    paths = [item.impath for item in val]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(val[0], "_impath", str(copy))
        images, left_out = calibration_images.calibration_images(run, "val", 100, 1)
    assert [item.impath for item in images] == paths[1:] and left_out == 1


def test_runs_that_chose_on_these_images_say_so(call, trained):
    run = trained("TipAdapter")
    code, out, err = call(run=run.output_dir)
    assert code == 0, err
    (note,) = [line for line in out.splitlines() if line.startswith("Note: ") and "chose" in line]
    assert_facts(note, "--images all_val")
    val = {item.impath for item in run.dm.dataset.val}
    assert not val & {item.impath for item in find_candidates(run, "all_val")}


def test_zero_shot_clip(call, trained):
    run = trained("ZeroshotCLIP")
    assert call(run=run.output_dir)[0] == 0
    assert load_tuned(call.folder, calibrated=True).calibration.temperature == content(call.file)["temperature"]


USER_ERRORS = {
    "coverage": (["--coverage", "1.2"], ["--coverage", "0", "1", "1.2"]),
    "too few images": (["--coverage", "0.96"], ["0.96", "24", "20", "0.952", "--images", "all_val"]),
    "max images": (["--max-images", "0"], ["--max-images", "1", "0"]),
    "penalty": (["--penalty", "nan"], ["--penalty", "0", "nan"]),
    "free ranks": (["--free-ranks", "-1"], ["--free-ranks", "0", "-1"]),
    "epoch": (["--epoch", "9"], ["model.pth.tar-9"]),
    "root": (["--root", "a_file"], ["a_file"]),
}


@pytest.mark.parametrize("name", USER_ERRORS)
def test_user_errors_are_one_line(call, tmp_path, monkeypatch, name):
    arguments, facts = USER_ERRORS[name]
    call("--coverage", "2")  # copies the run
    monkeypatch.chdir(tmp_path)
    (tmp_path / "a_file").touch()
    result = call(*arguments)
    assert_user_error(result, *facts)
    assert result[1] == "" and not call.file.exists() and not (call.folder / "calibration").exists()


def test_without_validation_images(trained, monkeypatch):
    run = trained()
    monkeypatch.setattr(run.dm.dataset, "_val", None)
    with raises_user_error("Digits", "base", "--images", "all_val", "unused_train", "test images"):
        calibration_images.calibration_images(run, "val", 100, 1)


def test_a_later_run_that_cannot_be_read_stops_before_the_first_is_calibrated(call, tmp_path):
    assert_user_error(call(tmp_path / "nowhere"), tmp_path / "nowhere")
    assert not call.file.exists()


def test_a_file_outside_a_run_directory(call, trained, tmp_path):
    file = shutil.copy(Path(trained().output_dir) / "clipfit" / "tuned.safetensors", tmp_path / "alone.safetensors")
    assert calibration.run_folder(str(file)) == str(tmp_path)
    run = Path(trained().output_dir)
    assert calibration.run_folder(str(run / "clipfit" / "tuned.safetensors")) == str(run)
    with pytest.raises(FileNotFoundError):
        load_tuned(file, calibrated=True)

"""tools/predict.py: one image, folders, output files, and user errors."""

import csv
import json
import os
import shutil
from pathlib import Path

import pytest
import torch
from clip import tokenize

from tests.tools.tuned import trained  # noqa: F401  (fixture)
from tests.user_errors import assert_facts, assert_user_error
from tools import predict
from tools.predicting.output import Row, as_csv, as_json, as_text
from trainers.common import load_tuned
from trainers.common.inference.classifier import Classifier
from trainers.common.models.loading import load_clip
from trainers.common.runs.finished import read_run


@pytest.fixture
def call(trained, capsys, tmp_path):  # noqa: F811
    """call(*arguments) -> (exit code, stdout, stderr), for a trained run."""
    run = trained().output_dir
    images = tmp_path / "images"
    for i, item in enumerate(trained().dm.dataset.test[::10]):
        folder = images / item.classname
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copy(item.impath, folder / f"{i}.PNG")
    (images / "notes.txt").write_text("no image")

    def predict_on(*arguments, run=run):
        code = predict.main([str(run), *map(str, arguments)])
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    capsys.readouterr()  # the training log
    predict_on.images, predict_on.classifier, predict_on.run = images, load_tuned(run), run
    return predict_on


def test_one_image(call):
    path = sorted(call.images.rglob("*.PNG"))[0]
    code, out, err = call(path)
    ((name, probability), *rest) = call.classifier.predict(path).top(5)[0]
    lines = out.splitlines()
    assert code == 0 and err == "" and lines[0] == str(path) and len(lines) == 6
    assert lines[1].split("%") == [f"{100 * probability:7.2f}", f"  {name}"]
    code, out, _ = call(path, "--top", 2, "--classes", "cat, dog,fish", "--template", "a {}!", "--precision", "bf16")
    assert len(out.splitlines()) == 3 and {line.split()[1] for line in out.splitlines()[1:]} < {"cat", "dog", "fish"}


def test_a_name_that_is_not_utf_8(call, tmp_path):
    """The name is written as escapes, which JSON turns into the name again."""
    images, path = tmp_path / "odd", tmp_path / "p.json"
    images.mkdir()
    name = os.fsdecode(b"caf\xe9.png")
    shutil.copy(next(call.images.rglob("*.PNG")), images / name)
    code, out, _ = call(images, "--csv", "-", "--json", path)
    assert code == 0 and r"caf\udce9.png" in out
    assert json.loads(path.read_text())[0]["image"] == str(images / name)


def test_zero_shot_clip_needs_no_run(call, trained):  # noqa: F811
    path = sorted(call.images.rglob("*.PNG"))[0]
    backbone = ("--backbone", trained().cfg.MODEL.BACKBONE.NAME)
    code, out, err = call(path, *backbone, "--classes", "cat,dog", "--json", "-", run="zero-shot")
    assert code == 0, err
    model = load_clip(backbone[1])
    with torch.no_grad():
        logits, _ = model(call.classifier.prepare(path)[None], tokenize(["a photo of a cat.", "a photo of a dog."]))
    expected = dict(zip(("cat", "dog"), logits.softmax(dim=-1)[0].tolist(), strict=True))
    found = {item["name"]: item["probability"] for item in json.loads(out)[0]["classes"]}
    assert found == pytest.approx(expected, abs=1e-5)
    assert_user_error(call(path, *backbone, run="zero-shot"), "zero-shot", "--classes")
    assert_user_error(call(path, *backbone, "--classes", "a,b", "--epoch", 2, run="zero-shot"), "--epoch 2")


def test_a_folder_to_csv_and_json(call, tmp_path):
    paths = [str(p) for p in sorted(call.images.rglob("*.PNG"))]
    expected = call.classifier.predict(paths)
    files = tmp_path / "new" / "predictions.csv", tmp_path / "predictions.json"
    code, out, err = call(call.images, paths[0], "--csv", files[0], "--json", files[1], "--batch-size", 4, "--top", 3)
    assert code == 0 and out == "" and f"{len(paths)} images" in err  # without duplicates
    with files[0].open() as file:
        rows = list(csv.DictReader(file))
    assert [row["image"] for row in rows] == paths and [row["class"] for row in rows] == expected.names
    for row, top in zip(rows, expected.top(3), strict=True):
        assert [row["class"], row["class_2"], row["class_3"]] == [name for name, _ in top]
        assert float(row["probability_2"]) == pytest.approx(top[1][1], abs=1e-5)
    items = json.loads(files[1].read_text())
    assert [item["image"] for item in items] == paths
    for item, top in zip(items, expected.top(3), strict=True):
        assert [(c["name"], pytest.approx(c["probability"], abs=1e-5)) for c in item["classes"]] == top
    code, out, err = call(call.images)
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == paths
    assert [line.split()[1] for line in out.splitlines()] == expected.names
    assert json.loads(call(call.images, "--json", "-", "--top", 1)[1])[0]["image"] == paths[0]


def test_images_in_folders_are_those_of_training(call):
    paths = [str(p) for p in sorted(call.images.rglob("*.PNG"))]
    shutil.copy(paths[0], call.images / "._hidden.png")
    (call.images / ".cache").mkdir()
    shutil.copy(paths[0], call.images / ".cache" / "0.png")
    shutil.copy(paths[0], call.images / "photo.jfif")  # a PNG, whatever it is called
    code, out, err = call(call.images)
    expected = sorted([*map(Path, paths), call.images / "photo.jfif"])
    assert code == 0 and [line.split()[0] for line in out.splitlines()] == list(map(str, expected))
    (line,) = [line for line in err.splitlines() if "left out" in line]
    assert_facts(line, call.images, "1 .txt")


def test_unreadable_images_are_reported_and_skipped(call, tmp_path):
    good = len(list(call.images.rglob("*.PNG")))
    (call.images / "broken.jpg").write_bytes(b"\xff\xd8\xff no more")
    (call.images / "empty.png").write_bytes(b"")
    code, _, err = call(call.images, "--csv", tmp_path / "predictions.csv")
    broken, empty = sorted(line[line.index("error: ") :] for line in err.splitlines() if "error: " in line)
    assert code == 1
    assert_facts(broken, call.images / "broken.jpg")
    assert_facts(empty, call.images / "empty.png")
    assert_facts(err.splitlines()[-1], " 2 ", f" {good + 2} ")
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == good + 1
    result = call(call.images / "broken.jpg")
    assert_user_error(result, call.images / "broken.jpg")
    assert result[1] == ""


def test_an_image_is_never_overwritten_and_its_name_forges_no_line(call, tmp_path):
    path = sorted(call.images.rglob("*.PNG"))[0]
    before = path.read_bytes()
    assert_user_error(call(path, "--csv", path), path)
    assert path.read_bytes() == before
    odd = tmp_path / "a\n* accuracy: 99.99%.png"
    shutil.copy(path, odd)
    _, out, _ = call(odd)
    assert not any(line.startswith("* accuracy") for line in out.splitlines())


def test_class_names_from_a_file(call, tmp_path):
    names = tmp_path / "names.txt"
    names.write_text("cat, tabby\n\nčeský pes\n", encoding="utf-8")
    path = sorted(call.images.rglob("*.PNG"))[0]
    code, out, _ = call(path, "--classes", f"@{names}")
    assert code == 0 and {line.partition("%  ")[2] for line in out.splitlines()[1:]} == {"cat, tabby", "český pes"}


def test_classes_with_equal_names_are_numbered(call, tmp_path, monkeypatch):
    """In the log, CSV and JSON; an own list that repeats a name is refused (below)."""
    path = sorted(call.images.rglob("*.PNG"))[0]
    names = ["zero", "one", "two", "one", "four"]
    state, file = read_run(call.run)
    monkeypatch.setattr(
        predict,
        "load_for_classes",
        lambda args: Classifier({**state, "meta": {**state["meta"], "classnames": names}}, file),
    )
    files = tmp_path / "p.csv", tmp_path / "p.json"
    assert call(path, "--csv", files[0], "--json", files[1])[0] == 0
    shown = {"zero", "one (class 1)", "two", "one (class 3)", "four"}
    (row,) = csv.DictReader(files[0].open())
    assert {row["class"], *(row[f"class_{rank}"] for rank in range(2, 6))} == shown
    assert {entry["name"] for entry in json.loads(files[1].read_text())[0]["classes"]} == shown
    assert {line.partition("%  ")[2] for line in call(path)[1].splitlines()[1:]} == shown


USER_ERRORS = {
    "no such image": (["nowhere.png"], ["nowhere.png"]),
    "empty folder": (["EMPTY"], ["EMPTY", ".jpg"]),
    "top": (["IMAGE", "--top", "0"], ["--top", "1", "0"]),
    "batch size": (["IMAGE", "--batch-size", "-1"], ["--batch-size", "1", "-1"]),
    "no classes": (["IMAGE", "--classes", " , "], ["class names"]),
    "duplicate class": (["IMAGE", "--classes", "a,b,a"], ["'a'"]),
    "control character": (["IMAGE", "--classes", "a,b\x1b[2J"], ["--classes", "class name", "U+001B"]),
    "no file of classes": (["IMAGE", "--classes", "@nowhere"], ["nowhere"]),
    "epoch": (["IMAGE", "--epoch", "99"], ["model.pth.tar-99"]),
    "device": (["IMAGE", "--device", "tpu9"], ["'tpu9'"]),
    "precision": (["IMAGE", "--precision", "int8"], ["PREC", "int8"]),
    "backbone": (["IMAGE", "--backbone", "micro"], ["micro"]),
    "template": (["IMAGE", "--template", "a photo"], ["TEMPLATE", "{}", "a photo"]),
    "folder as file": (["IMAGE", "--csv", "EMPTY"], ["EMPTY"]),
    "file as folder": (["IMAGE", "--csv", "IMAGE/x.csv"], ["IMAGE"]),
}


@pytest.mark.parametrize("name", USER_ERRORS)
def test_user_errors_are_one_line(call, tmp_path, monkeypatch, name):
    arguments, facts = USER_ERRORS[name]
    monkeypatch.chdir(tmp_path)
    (tmp_path / "EMPTY").mkdir()
    shutil.copy(sorted(call.images.rglob("*.PNG"))[0], tmp_path / "IMAGE")
    result = call(*arguments)
    assert_user_error(result, *facts)
    assert result[1] == ""


def test_ctrl_c_writes_the_predictions_so_far(call, tmp_path, monkeypatch):
    original = predict.classify

    def stop(*args):
        for i, prediction in enumerate(original(*args)):
            if i == 3:
                raise KeyboardInterrupt
            yield prediction

    monkeypatch.setattr(predict, "classify", stop)
    code, _, err = call(call.images, "--csv", tmp_path / "predictions.csv")
    assert code == 130
    assert_facts(err.splitlines()[-1], " 3 ", f" {len(list(call.images.rglob('*.PNG')))} ")
    assert len((tmp_path / "predictions.csv").read_text().splitlines()) == 4


def test_the_text_has_class_names_as_prompts_have_them_and_files_those_of_the_run():
    rows = [Row("a.jpg", [("big_dog", 0.9)], ["big_dog", "cat"])]
    assert "big dog" in as_text(rows) and "{big dog, cat}" in as_text(rows * 2) and "big_dog" not in as_text(rows)
    assert "big_dog" in as_csv(rows) and "big_dog" in as_json(rows)


def test_what_is_no_image(call, tmp_path):
    text = tmp_path / "texts" / "notes.txt"
    text.parent.mkdir()
    text.write_text("Buy milk.\n")
    assert_user_error(call(text), text, "text file")
    assert_user_error(call(text.parent), text.parent, "1 .txt", ".jpg")


def test_an_output_folder_is_not_created_before_there_is_something_to_write(call, tmp_path):
    path = sorted(call.images.rglob("*.PNG"))[0]
    assert_user_error(call(tmp_path / "nothing.jpg", "--csv", tmp_path / "new" / "a.csv"), "nothing.jpg")
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    assert_user_error(call(path, "--csv", tmp_path / "file" / "a.csv"), tmp_path / "file")
    assert call(path, "--csv", tmp_path / "new" / "a.csv")[0] == 0 and (tmp_path / "new" / "a.csv").is_file()

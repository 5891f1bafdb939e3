"""A run is its settings and its data: with other images or classes it is not resumed, and not called finished."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import train
from tests.user_errors import assert_facts

CONFIGS = Path(__file__).resolve().parents[4] / "configs"


def write_images(root, seed=0):
    rng = np.random.default_rng(seed)
    for split, n in (("train", 3), ("val", 2), ("test", 2)):
        for name in ("cat", "dog"):
            folder = root / split / name
            folder.mkdir(parents=True)
            for i in range(n):
                Image.fromarray(rng.integers(0, 256, (32, 32, 3), np.uint8)).save(folder / f"{i}.png")
    return root


def run(root, output, *opts, code=0):
    """Runs train.py for one epoch, with DATALOADER.NUM_WORKERS 0."""
    argv = ["--root", str(root), "--trainer", "CLIPFit", "--seed", "1", "--output-dir", str(output)]
    argv += ["--dataset-config-file", str(CONFIGS / "datasets" / "folder.yaml")]
    argv += ["--config-file", str(CONFIGS / "trainers" / "CLIPFit" / "micro_ep100.yaml")]
    flags = [word for word in opts if word.startswith("--")]
    first = opts.index(flags[-1]) + 2 if flags and flags[-1] != "--eval-only" else len(flags)
    argv += [*opts[:first], "OPTIM.MAX_EPOCH", "1", "DATASET.NUM_SHOTS", "-1", "DATALOADER.NUM_WORKERS", "0"]
    assert train.main([*argv, "DATALOADER.TRAIN_X.BATCH_SIZE", "4", "USE_CUDA", "False", *opts[first:]]) == code


def record_of(output, name="result.json"):
    return json.loads((output / name).read_text())


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """(images, run directory) of a finished run. Do not change them: `copied` gives copies."""
    folder = tmp_path_factory.mktemp("run")
    images = write_images(folder / "pets")
    run(images, folder / "out")
    return images, folder / "out"


@pytest.fixture
def copied(trained, tmp_path):
    images, output = trained
    shutil.copytree(images, tmp_path / "moved" / "pets")
    shutil.copytree(output, tmp_path / "out")
    return tmp_path / "moved" / "pets", tmp_path / "out"


def noise(images, split):
    path = images / split / "cat" / "1.png"
    pixels = np.random.default_rng(7).integers(0, 256, (32, 32, 3), np.uint8)
    Image.fromarray(pixels).save(path)


def add(images, split):
    shutil.copy(images / split / "cat" / "1.png", images / split / "dog" / "new.png")


def rename_class(images):
    for split in ("train", "val", "test"):
        (images / split / "cat").rename(images / split / "cow")


@pytest.mark.parametrize(
    "change, facts",
    [
        (lambda images: noise(images, "train"), ["training images 6 -> 6"]),
        (lambda images: add(images, "train"), ["training images 6 -> 7"]),
        (lambda images: noise(images, "val"), ["validation images 4 -> 4"]),
        (rename_class, ["'cat' -> 'cow'"]),
    ],
)
def test_other_training_data_are_refused(copied, capsys, change, facts):
    images, output = copied
    change(images)
    files = [path for path in output.rglob("*") if path.is_file() and not path.name.startswith(("log.txt", ".lock"))]
    before = {path: path.read_bytes() for path in files}
    run(images, output, code=1)
    error = capsys.readouterr().err.strip().splitlines()[-1]
    assert_facts(error, output, "--output-dir", f"--resume {output}", *facts)
    after = {path: path.read_bytes() for path in before}
    assert after == before


def test_a_copy_of_a_training_image_among_the_test_images_is_refused(copied, tmp_path, capsys):
    images, _ = copied
    shutil.copy(images / "train" / "cat" / "1.png", images / "test" / "cat" / "copy.png")
    run(images, tmp_path / "new", code=1)
    facts = (
        images / "train" / "cat" / "1.png",
        images / "test" / "cat" / "copy.png",
        "DATASET.FOLDER.ALLOW_DUPLICATES",
    )
    assert_facts(capsys.readouterr().err.strip().splitlines()[-1], "1 image", *facts)
    run(images, tmp_path / "new", "DATASET.FOLDER.ALLOW_DUPLICATES", "True")
    assert "1 image(s) of equal content are in train and in test" in capsys.readouterr().out


def test_resume_names_the_folder(copied, capsys):
    images, output = copied
    noise(images, "train")
    run(images, output, "--resume", str(output))
    assert "training images 6 -> 6" in capsys.readouterr().out


def test_moved_images_are_the_same_run(copied, capsys):
    images, output = copied
    before = record_of(output)
    run(images, output)
    assert "Resuming after epoch 1" in capsys.readouterr().out
    after = record_of(output)
    assert after["content"] == before["content"] and after["weights"] == before["weights"]
    assert not list(output.glob("result.json-*"))


def test_other_test_images_are_another_evaluation(copied):
    images, output = copied
    before = record_of(output)
    noise(images, "test")
    run(images, output)
    (kept,) = output.glob("result.json-*")
    assert json.loads(kept.read_text()) == before
    after = record_of(output)
    assert after["content"]["train_x"] == before["content"]["train_x"]
    assert after["content"]["test"] != before["content"]["test"] and after["finished"]


def test_an_evaluation_in_the_folder_of_the_training_has_its_own_record(copied):
    images, output = copied
    before = (output / "result.json").read_bytes()
    run(images, output, "--eval-only", "--model-dir", str(output), "--load-epoch", "1", "TEST.SPLIT", "val")
    run(images, output, "--eval-only", "--model-dir", str(output))
    assert (output / "result.json").read_bytes() == before
    names = sorted(path.name for path in output.glob("evaluation-*"))
    stems = ("evaluation-pets-all-test", "evaluation-pets-all-val-epoch1")
    assert names == [stem + end for stem in stems for end in ("-predictions.csv", ".json")]
    source = record_of(output, names[1])["source"]
    assert source["weights"] in json.loads(before)["weights"].values()
    assert source["content"] == {split: json.loads(before)["content"][split] for split in ("train_x", "val")}


def test_the_file_of_an_epoch_must_hold_that_epoch(copied, capsys):
    images, output = copied
    folder = output / "clipfit"
    (folder / "model.pth.tar-1").rename(folder / "model.pth.tar-7")
    run(images, output, "--eval-only", "--model-dir", str(output), "--load-epoch", "7", code=1)
    assert_facts(capsys.readouterr().err.strip().splitlines()[-1], folder / "model.pth.tar-7", "epoch 1")


@pytest.mark.parametrize("flags", [["--model-dir", "somewhere"], ["--load-epoch", "3"]])
def test_a_checkpoint_to_evaluate_needs_eval_only(tmp_path, capsys, flags):
    run(tmp_path, tmp_path / "out", *flags, code=1)
    assert_facts(capsys.readouterr().err, *flags, "--eval-only", "MODEL.INIT_WEIGHTS")
    assert not (tmp_path / "out").exists()


def test_the_record(trained):
    images, output = trained
    result = record_of(output)
    assert result["name"] == "pets" and result["format"] == 2
    assert {split: content["images"] for split, content in result["content"].items()} == {
        "train_x": 6,
        "val": 4,
        "test": 4,
    }
    metrics = result["metrics"]["test"]
    assert metrics["total"] == 4 and metrics["accuracy"] == 100 * metrics["correct"] / 4
    assert list(result["weights"]) == ["clipfit/model.pth.tar-1"]
    assert result["started"].endswith("Z") and result["started"] <= result["written"]


def test_a_run_of_another_method_has_its_own_folder(copied, capsys):
    images, output = copied
    before = {path: path.read_bytes() for path in output.rglob("*") if path.is_file()}
    for method in ("LayerNormTuning", "ZeroshotCLIP"):
        run(images, output, "--trainer", method, code=1)
        assert_facts(capsys.readouterr().err.strip().splitlines()[-1], output, "CLIPFit", method, "--output-dir")
    assert {path: path.read_bytes() for path in output.rglob("*") if path.is_file()} == before

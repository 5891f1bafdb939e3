"""Digits: the images of scikit-learn, written once, also if several processes start together."""

import json
import multiprocessing
import os
import random
import signal
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from sklearn.datasets import load_digits

from datasets import digits
from tests.datasets import mini
from tests.trainers.crash import fork, join
from tests.user_errors import raises_user_error


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    root = tmp_path_factory.mktemp("digits")
    mini.build("Digits", root)
    return root


def test_images_are_scikit_learns(root):
    data = load_digits()
    files = sorted((root / "digits" / "images").rglob("*.png"), key=lambda path: path.name)
    assert len(files) == len(data.images) == 1797
    for path, image, label in zip(files[::50], data.images[::50], data.target[::50], strict=True):
        read = np.asarray(Image.open(path))
        assert read.shape == (8, 8) and np.abs(read / 255 * 16 - image).max() < 0.04
        assert path.parent.name == digits.CLASSNAMES[label]


def test_classes_and_split(root):
    data = mini.build("Digits", root)
    assert data.classnames == "zero one two three four five six seven eight nine".split()
    counts = np.bincount(load_digits().target)
    assert len(data.train_x) == sum(round(n * 0.5) for n in counts)
    assert len(data.val) == sum(round(n * 0.2) for n in counts)
    paths = [d.impath for d in data.train_x + data.val + data.test]
    assert len(set(paths)) == len(paths) == 1797
    assert all(Path(d.impath).parent.name == d.classname == data.classnames[d.label] for d in data.test)


def test_split_does_not_depend_on_the_random_state(root, tmp_path):
    random.seed(99)
    mini.build("Digits", tmp_path, shots=4, seed=3)
    name = "split_zhou_Digits.json"
    assert json.loads((tmp_path / "digits" / name).read_text()) == json.loads((root / "digits" / name).read_text())


def test_the_split_is_pinned(root):
    """The results in the documentation are for this split, so the split must not change."""
    assert mini.fingerprint(mini.build("Digits", root)) == "a8d6e52b8bc026ce"
    assert mini.fingerprint(mini.build("Digits", root, shots=16, seed=1, subsample="base")) == "21a9dd61f0392d37"


def test_default_root(root, tmp_path, monkeypatch):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "digits").symlink_to(root / "digits")
    monkeypatch.chdir(tmp_path)
    assert mini.build("Digits", "").test[0].impath.startswith(str(tmp_path / "data" / "digits"))


def start(root, barrier, fingerprints):
    barrier.wait()
    fingerprints.put(mini.fingerprint(mini.build("Digits", root, shots=16)))


def test_several_processes_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    barrier, fingerprints = context.Barrier(3), context.Queue()
    runs = [context.Process(target=start, args=(tmp_path, barrier, fingerprints)) for _ in range(3)]
    for run in runs:
        run.start()
    assert len({fingerprints.get(timeout=60) for _ in runs}) == 1
    for run in runs:
        run.join()
    assert [run.exitcode for run in runs] == [0, 0, 0]
    folder = tmp_path / "digits"
    assert sorted(path.name for path in folder.iterdir()) == [
        "images",
        "split_fewshot",
        "split_zhou_Digits.json",
    ]
    assert [path.name for path in (folder / "split_fewshot").iterdir()] == ["shot_16-seed_1.json"]
    assert len(list((folder / "images").rglob("*.png"))) == 1797


def test_an_interrupted_start_leaves_no_partial_folder(tmp_path, monkeypatch):
    written = []

    def save(self, path):
        written.append(path)
        if len(written) > 5:
            raise KeyboardInterrupt

    monkeypatch.setattr(digits.Image.Image, "save", save)
    with pytest.raises(KeyboardInterrupt):
        mini.build("Digits", tmp_path)
    assert list((tmp_path / "digits").iterdir()) == []


def test_a_folder_that_cannot_be_created(tmp_path):
    (tmp_path / "digits").write_text("a file instead of the folder")
    with raises_user_error(tmp_path / "digits" / "images", "--root", error=OSError):
        mini.build("Digits", tmp_path)


def test_a_deleted_image(tmp_path):
    mini.build("Digits", tmp_path)
    path = next((tmp_path / "digits" / "images" / "two").iterdir())
    path.unlink()
    with raises_user_error(path, " 1 ", error=FileNotFoundError):
        mini.build("Digits", tmp_path)


def written(root) -> int:
    return sum(len(files) for _, _, files in os.walk(root))


def test_killed_while_writing(tmp_path):
    """SIGKILL after 0 to 1200 images: the next start writes the same dataset and removes files older than an hour."""
    whole, unfinished = mini.fingerprint(mini.build("Digits", tmp_path / "whole", shots=4)), 0
    for images in (0, 1, 500, 1200):
        root = tmp_path / str(images)
        child = fork(partial(mini.build, "Digits", root, shots=4), tmp_path / "log")
        end = time.monotonic() + 60
        while written(root) < images:
            assert time.monotonic() < end, (tmp_path / "log").read_text()
            time.sleep(0.001)
        os.kill(child, signal.SIGKILL)
        join(child)
        folder = root / "digits"
        unfinished += not (folder / "split_fewshot" / "shot_4-seed_1.json").exists()
        assert not (folder / "images").exists() or len(list((folder / "images").rglob("*.png"))) == 1797
        for leftover in folder.glob(".images-*"):
            os.utime(leftover, (0, 0))
        assert mini.fingerprint(mini.build("Digits", root, shots=4)) == whole
        names = sorted(path.name for path in folder.iterdir() if path.suffix != ".tmp")
        assert names == ["images", "split_fewshot", "split_zhou_Digits.json"]
    assert unfinished

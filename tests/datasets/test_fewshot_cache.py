"""CoOp's pickled few-shot files give the same selection, also for moved data, and cannot run code."""

import json
import os
import pickle
import shutil

import pytest

from dassl.data.datasets import Datum
from datasets import fewshot_cache
from tests.datasets import mini
from tests.user_errors import assert_facts, raises_user_error

NAME = "shot_2-seed_1"


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "data"
    mini.caltech(root, {"ant": 12, "bear": 14, "cat": 10})
    (root / "caltech-101" / "split_fewshot").mkdir()
    return root


def take(data, n, first=0):
    """Returns `n` images of each class, from the image `first` of the class."""
    of_class = [[item for item in data if item.label == label] for label in range(3)]
    return [item for items in of_class for item in items[first : first + n]]


def write_pickle(root, first=0, change=lambda chosen, data: None):
    """Writes a selection as CoOp does, which differs from the one that the seed gives. `change` edits it before."""
    data = mini.build("Caltech101", root)
    chosen = {"train": take(data.train_x, 2, first), "val": take(data.val, 2)}
    change(chosen, data)
    path = root / "caltech-101" / "split_fewshot" / f"{NAME}.pkl"
    with open(path, "wb") as file:
        pickle.dump(chosen, file, protocol=pickle.HIGHEST_PROTOCOL)
    return path, [mini.rows(chosen[key], root) for key in ("train", "val")]


def write_json(path, chosen):
    """Replaces a pickle by the JSON file with the same selection."""
    data = {
        key: [[p.split("101_ObjectCategories/")[1], *rest] for p, *rest in rows]
        for key, rows in zip(("train", "val"), chosen, strict=True)
    }
    path.with_suffix(".json").write_text(json.dumps(data))
    path.unlink()


def selection(root):
    data = mini.build("Caltech101", root, shots=2)
    return [mini.rows(data.train_x, root), mini.rows(data.val, root)]


def test_datum_has_the_name_that_pickles_hold():
    assert (Datum.__module__, Datum.__qualname__) == ("dassl.data.datasets.base_dataset", "Datum")


def test_pickle_is_used(root, capsys):
    path, chosen = write_pickle(root)
    assert selection(root) == chosen
    assert f"Loading preprocessed few-shot data from {path}" in capsys.readouterr().out
    assert not path.with_suffix(".json").exists()


def test_pickle_of_data_that_moved(root, tmp_path):
    _, chosen = write_pickle(root)
    moved = tmp_path / "disk 2" / "data"
    shutil.copytree(root, moved)
    assert selection(moved) == chosen  # the old images still exist
    shutil.rmtree(root)
    assert selection(moved) == chosen


def test_json_selects_what_the_pickle_does(root):
    path, chosen = write_pickle(root)
    write_json(path, chosen)
    assert selection(root) == chosen


def test_pickle_takes_precedence_and_a_different_json_is_reported(root, capsys):
    sampled = selection(root)
    path, chosen = write_pickle(root, first=1)
    assert sampled != chosen
    capsys.readouterr()
    assert selection(root) == chosen
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING: ")]
    assert_facts(warning, path, path.with_suffix(".json"))


def drop_class(chosen, data):
    chosen["train"] = [item for item in chosen["train"] if item.label != 1]


def drop_image(chosen, data):
    del chosen["val"][-1]


def add_image(chosen, data):
    chosen["train"].append(take(data.train_x, 3)[2])


def repeat_image(chosen, data):
    chosen["train"][1] = chosen["train"][0]


def train_on_val(chosen, data):
    chosen["train"][0] = data.val[0]


@pytest.mark.parametrize("form", ["pkl", "json"])
@pytest.mark.parametrize(
    "change, facts",
    [
        (drop_class, ["0 train", "'bear'", "instead of 2"]),
        (drop_image, ["1 val", "'cat'", "instead of 2"]),
        (add_image, ["3 train", "'ant'", "instead of 2", "2 shots", "6 available"]),
        (repeat_image, ["duplicate train", "ant/ant_"]),
        (train_on_val, ["1 of its 6 train"]),
    ],
)
def test_an_incomplete_selection_is_refused(root, change, facts, form):
    """Classes, numbers of images, duplicates and parts; for base and new classes, too."""
    path, chosen = write_pickle(root, change=change)
    if form == "json":
        write_json(path, chosen)
    with raises_user_error(path.with_suffix(f".{form}"), *facts, "delete the file", error=ValueError):
        selection(root)


def test_a_small_class_needs_only_its_images(root):
    """Class cat has 5 train and 2 val images."""
    data = mini.build("Caltech101", root)
    chosen = {"train": take(data.train_x, 6), "val": take(data.val, 4)}
    path = root / "caltech-101" / "split_fewshot" / "shot_6-seed_1.pkl"
    path.write_bytes(pickle.dumps(chosen))
    again = mini.build("Caltech101", root, shots=6)
    assert [len(again.train_x), len(again.val)] == [6 + 6 + 5, 2 + 2 + 2]


def test_pickle_of_another_split_is_refused(root):
    path, _ = write_pickle(root)
    data = mini.build("Caltech101", root)
    path.write_bytes(pickle.dumps({"train": data.test[:3], "val": []}, protocol=pickle.HIGHEST_PROTOCOL))
    with raises_user_error(path, "3 of its 3 train", error=ValueError):
        selection(root)


class Evil:
    def __init__(self, function, *arguments):
        self.reduced = function, arguments

    def __reduce__(self):
        return self.reduced


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
@pytest.mark.parametrize("function", [os.mkdir, exec, eval, os.system])
def test_a_hostile_pickle_does_not_run(root, tmp_path, function, protocol):
    target = tmp_path / "ran"
    argument = {os.mkdir: f"{target}", os.system: f"mkdir {target}"}.get(
        function, f"__import__('os').mkdir({str(target)!r})"
    )
    path = root / "caltech-101" / "split_fewshot" / f"{NAME}.pkl"
    evil = pickle.dumps({"train": [Evil(function, argument)]}, protocol=protocol)
    path.write_bytes(evil)
    with raises_user_error(path, "CoOp", error=ValueError):
        selection(root)
    assert not target.exists()
    pickle.loads(evil)  # the pickle works, so the test can fail
    assert target.exists()


@pytest.mark.parametrize("data", [[], {"train": [3]}, {"train": 3}, {"train": [{}]}, "x", None])
def test_other_pickles_are_refused(root, data):
    path = root / "caltech-101" / "split_fewshot" / f"{NAME}.pkl"
    path.write_bytes(pickle.dumps(data))
    with raises_user_error(path, "CoOp", error=ValueError):
        selection(root)


@pytest.mark.parametrize("keep", [0, 1, 10, 200])
def test_truncated_pickle(root, keep):
    path, _ = write_pickle(root)
    path.write_bytes(path.read_bytes()[:keep])
    with raises_user_error(path, "CoOp", error=ValueError):
        selection(root)


@pytest.mark.parametrize(
    "impath, expected",
    [
        ("/now/dtd/images/a/1.jpg", "a/1.jpg"),
        ("/old/place/dtd/images/a/1.jpg", "a/1.jpg"),
        ("/dtd/images/dtd/images/a/1.jpg", "a/1.jpg"),
        ("D:\\data\\dtd\\images\\a\\1.jpg", "a/1.jpg"),
        ("/other/a/1.jpg", "/other/a/1.jpg"),
    ],
)
def test_paths_are_relative_to_the_image_folder(impath, expected):
    assert fewshot_cache.relative_path(impath, "/now/dtd/images", "/dtd/images/") == expected

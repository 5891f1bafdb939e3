"""The few-shot files of 2SFS: one JSON object per line, paths below the folder of all datasets."""

import json

import pytest

from dassl.data.datasets import build_dataset
from tests.datasets import mini
from tests.user_errors import raises_user_error

KEY = "DATASET.PUBLIC_SPLITS"


@pytest.fixture
def root(tmp_path):
    mini.caltech(tmp_path, {"ant": 12, "bear": 14, "cat": 10, "dog": 12})  # cat has 5 train and 2 val images
    (tmp_path / "caltech-101" / "split_fewshot").mkdir()
    return tmp_path


def build(root, shots=2, seed=1, subsample="all"):
    cfg = mini.make_cfg("Caltech101", root, shots=shots, seed=seed, subsample=subsample)
    cfg.DATASET.PUBLIC_SPLITS = True
    return build_dataset(cfg)


def last(rows, n):
    """The last `n` images of each class, repeated from the first if there are fewer."""
    chosen = []
    for label in range(4):
        own = [row for row in rows if row[1] == label]
        chosen += own[-n:] + own[: max(0, n - len(own))]
    return chosen


def write(root, shots=2, prefix="", change=lambda rows: rows):
    """Writes both files. Returns the paths and the rows [path below root, label, class name] of train and val."""
    data = mini.build("Caltech101", root)
    paths, parts = [], []
    for part, items, number in (("train", data.train_x, shots), ("val", data.val, min(shots, 4))):
        rows = last(mini.rows(items, root), number)
        path = root / "caltech-101" / "split_fewshot" / f"shot_{shots}-seed_1_{part}.jsonl"
        lines = [
            {"_impath": prefix + impath, "_label": label, "_domain": 0, "_classname": name}
            for impath, label, name in (change(rows) if part == "train" else rows)
        ]
        path.write_text("".join(json.dumps(line) + "\n" for line in lines))
        paths.append(path)
        parts.append(rows)
    return paths, parts


@pytest.mark.parametrize("prefix", ["", "/their/disk/"])
def test_the_images_of_the_files_are_used(root, prefix):
    _, rows = write(root, prefix=prefix)
    data = build(root)
    assert [mini.rows(part, root) for part in (data.train_x, data.val)] == rows
    sampled = mini.build("Caltech101", root, shots=2)  # as without the key
    assert mini.rows(sampled.train_x, root) != rows[0]


def test_base_classes_and_classes_with_few_images(root):
    """Images of a class with fewer images than shots occur several times in the files."""
    _, rows = write(root, shots=6)
    assert mini.rows(build(root, shots=6).train_x, root) == rows[0] and len(rows[0]) == 24
    assert mini.rows(build(root, shots=6, subsample="base").train_x, root) == rows[0][:12]


OTHER_SPLIT = [["caltech-101/101_ObjectCategories/ant/ant_011.jpg", 0, "ant"]]  # a test image
ERRORS = {
    "another split": (lambda rows: OTHER_SPLIT + rows[1:], ["1 of its 8 train", "ant_011"]),
    "duplicate": (lambda rows: rows[:1] + rows[:1] + rows[2:], ["duplicate train", "ant/"]),
    "missing class": (lambda rows: rows[2:], ["0 train", "'ant'", "instead of 2"]),
    "no label": (lambda rows: [[rows[0][0], "x", "ant"]], ["line 1", "_label"]),
}


@pytest.mark.parametrize("name", ERRORS)
def test_a_file_that_does_not_fit_is_refused(root, name):
    change, facts = ERRORS[name]
    (path, _), _ = write(root, change=change)
    with raises_user_error(path, *facts, f"{KEY} False", error=ValueError):
        build(root)


def test_lines_that_are_no_objects(root):
    (path, _), _ = write(root)
    path.write_text("[1]\n")
    with raises_user_error(path, "line 1", "_impath", f"{KEY} False", error=ValueError):
        build(root)


def test_missing_file_seed_and_shots(root):
    with raises_user_error(KEY, "shot_2-seed_1_train.jsonl", f"{KEY} False", error=FileNotFoundError):
        build(root)
    for options in ({"seed": -1}, {"shots": -1}):
        with raises_user_error(KEY, "SEED", "DATASET.NUM_SHOTS", "-1", error=ValueError):
            build(root, **options)

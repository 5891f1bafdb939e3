"""Generated splits do not depend on the directory order or the random state."""

import os
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import image_folders, random_splits
from datasets.splits import Item
from tests.datasets import mini
from tests.user_errors import raises_user_error

COUNTS = {"a": 10, "b": 20, "zebra crossing": 7, "ö": 11}


class Reversed:
    """`os.scandir` in reversed order."""

    def __init__(self, path):
        with scandir(path) as entries:
            self.entries = sorted(entries, key=lambda entry: entry.name, reverse=True)

    def __enter__(self):
        return iter(self.entries)

    def __exit__(self, *_):
        pass


scandir = os.scandir


def test_independent_of_directory_order_and_random_state(tmp_path, monkeypatch):
    mini.write_classes(tmp_path, COUNTS)
    random.seed(1)
    before = random.getstate()
    first = random_splits.split_three(image_folders.folder_items(tmp_path))
    assert random.getstate() == before
    monkeypatch.setattr(image_folders.os, "scandir", Reversed)
    random.seed(2)
    assert random_splits.split_three(image_folders.folder_items(tmp_path)) == first


def test_a_class_split_does_not_depend_on_the_other_classes(tmp_path):
    mini.write_classes(tmp_path, COUNTS)
    all_classes = random_splits.split_three(image_folders.folder_items(tmp_path))
    without_a = random_splits.split_three(image_folders.folder_items(tmp_path, ignored=["a"]))
    assert [i.path for i in all_classes.train if i.path.startswith("b/")] == [
        i.path for i in without_a.train if i.path.startswith("b/")
    ]


def test_folders_become_classes_and_other_files_are_skipped(tmp_path):
    mini.write_classes(tmp_path, COUNTS)
    (tmp_path / "a" / "notes.txt").write_text("x")
    (tmp_path / "a" / ".hidden.jpg").write_text("x")
    (tmp_path / "a" / "folder.jpg").mkdir()
    (tmp_path / "readme.jpg").write_text("x")
    (tmp_path / ".cache").mkdir()
    items = image_folders.folder_items(tmp_path, ignored=["b"], classnames={"a": "apple"})
    assert [(item.label, item.classname) for item in items] == (
        [(0, "apple")] * 10 + [(1, "zebra crossing")] * 7 + [(2, "ö")] * 11
    )
    assert items[0].path == "a/a_000.jpg"


@given(counts=st.lists(st.integers(4, 60), min_size=1, max_size=5))
def test_sizes_of_the_splits_of_each_class(counts):
    items = [Item(f"{c}/{i}.jpg", c, f"{c}") for c, n in enumerate(counts) for i in range(n)]
    split = random_splits.split_three(items)
    train, val = random_splits.split_trainval(items)
    assert sorted(sum(split, [])) == sorted(items) == sorted(train + val)
    for label, n in enumerate(counts):
        sizes = [sum(item.label == label for item in items) for items in (*split, train, val)]
        assert sizes == [
            round(n * 0.5),
            round(n * 0.2),
            n - round(n * 0.5) - round(n * 0.2),
            n - round(n * 0.2),
            round(n * 0.2),
        ]


@pytest.mark.parametrize("make, n", [(random_splits.split_three, 2), (random_splits.split_trainval, 2)])
def test_too_few_images(make, n):
    with raises_user_error("'rare'", "2 image", error=ValueError):
        make([Item(f"{i}.jpg", 0, "rare") for i in range(n)])

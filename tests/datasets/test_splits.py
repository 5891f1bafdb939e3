"""Split files, few-shot sampling and base/new against plain code."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import splits
from datasets.splits import Item, Split

ROOT = Path(__file__).resolve().parents[2]
counts_strategy = st.lists(st.integers(1, 12), min_size=1, max_size=12)


def make_items(counts, order_seed=0):
    items = [Item(f"c{c}/{i}.jpg", c, f"class {c}") for c, n in enumerate(counts) for i in range(n)]
    random.Random(order_seed).shuffle(items)
    return items


@settings(deadline=None)
@given(counts=counts_strategy, shots=st.integers(1, 16), seed=st.integers(0, 2**32), order=st.integers(0, 9))
def test_shots_are_what_pythons_seeded_generator_draws(counts, shots, seed, order):
    train, val = make_items(counts, order), make_items(counts, order + 1)
    rng = random.Random(seed)
    got = splits.sample_shots(train, shots, rng), splits.sample_shots(val, min(shots, 4), rng)

    random.seed(seed)  # the plain rule: one call a class, classes by first appearance, train before val
    expected = []
    for items, n in ((train, shots), (val, min(shots, 4))):
        chosen = []
        for label in dict.fromkeys(item.label for item in items):
            of_class = [item for item in items if item.label == label]
            chosen += random.sample(of_class, n) if len(of_class) >= n else of_class
        expected.append(chosen)
    assert list(got) == expected


@settings(deadline=None)
@given(counts=st.lists(st.integers(1, 5), min_size=2, max_size=15), order=st.integers(0, 9))
def test_base_and_new_halve_the_classes(counts, order):
    items = make_items(counts, order)
    split = Split(items, items[::2], items)
    n_base = (len(counts) + 1) // 2
    base, new = splits.subsample_classes(split, "base"), splits.subsample_classes(split, "new")
    for part, first, wanted in ((base, 0, range(n_base)), (new, n_base, range(n_base, len(counts)))):
        for got, whole in zip(part, split, strict=True):
            kept = [item for item in whole if item.label in wanted]
            assert [(i.path, i.label + first, i.classname) for i in got] == kept
        assert {item.label for item in part.train} == set(range(len(wanted)))
    assert splits.subsample_classes(split, "all") is split


@pytest.mark.parametrize(
    "classes, base, new",
    [(1000, 500, 500), (100, 50, 50), (37, 19, 18), (101, 51, 50), (397, 199, 198), (47, 24, 23), (10, 5, 5)],
)
def test_base_new_sizes_of_the_papers_datasets(classes, base, new):
    items = make_items([1] * classes)
    halves = [splits.subsample_classes(Split(items, [], items), which) for which in ("base", "new")]
    assert [len(half.train) for half in halves] == [base, new]


@pytest.mark.parametrize("which", ["Base", "", "old"])
def test_unknown_subsample_names_the_choices(which):
    with pytest.raises(ValueError, match=r"SUBSAMPLE_CLASSES must be one of \('all', 'base', 'new'\), got"):
        splits.subsample_classes(Split([], [], []), which)


@pytest.mark.parametrize("which", ["base", "new"])
def test_one_class_cannot_be_halved(which):
    items = make_items([3])
    with pytest.raises(ValueError, match="only one class"):
        splits.subsample_classes(Split(items, [], items), which)


def test_new_classes_without_test_images():
    items = make_items([3, 3])
    with pytest.raises(ValueError, match="no test image"):
        splits.subsample_classes(Split(items, [], [i for i in items if i.label == 0]), "new")


def test_fewer_images_than_shots_are_said(capsys):
    splits.sample_shots(make_items([2, 5]), 4, random.Random(0))
    assert "1 of 2 classes have fewer than 4 images" in capsys.readouterr().out


def test_split_file_round_trip(tmp_path):
    split = Split(make_items([3, 2]), [], [Item("ä b/ü.jpg", 1, "class 1")])
    splits.write_split(split, tmp_path / "split.json", made="by hand")
    assert splits.read_split(tmp_path / "split.json") == (split, "by hand")
    assert [path.name for path in tmp_path.iterdir()] == ["split.json"]


@pytest.mark.parametrize(
    "text, word",
    [
        ("{", "not valid JSON"),
        ("[]", "no 'train', 'val', 'test'"),
        ('{"train": [], "val": []}', "no 'test'"),
        ('{"train": [["a.jpg", 0]], "val": [], "test": []}', "row must be"),
        ('{"train": [["a.jpg", "x", "a"]], "val": [], "test": []}', "row must be"),
        ('{"train": 3, "val": [], "test": []}', "expected a list"),
    ],
)
def test_bad_split_files_are_named(tmp_path, text, word):
    path = tmp_path / "split_zhou_X.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=word) as error:
        splits.read_split(path)
    assert "split_zhou_X.json" in str(error.value) and "\n" not in str(error.value)


def test_a_write_that_fails_leaves_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    splits.write_json([1], path)
    with pytest.raises(TypeError):
        splits.write_json([2, object()], path)
    assert json.loads(path.read_text()) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_leftovers_of_killed_processes_go_when_they_are_old(tmp_path):
    path = tmp_path / "split [1].json"
    old, young, other = f"{path.name}.0123abcd.tmp", f"{path.name}.0123abce.tmp", "else.json.0123abcd.tmp"
    for name in (old, young, other):
        (tmp_path / name).touch()
    for name in (old, other):
        os.utime(tmp_path / name, (0, 0))
    splits.write_json([1], path)
    assert {p.name for p in tmp_path.iterdir()} == {path.name, young, other}


def test_a_killed_process_leaves_what_the_next_one_removes(tmp_path):
    """The pattern of the leftovers is that of the temporary files really written."""
    path = tmp_path / "split.json"
    killed = "import os, sys; os.replace = lambda *_: os._exit(1); import runtime; from datasets import splits; "
    subprocess.run([sys.executable, "-c", f"{killed}splits.write_json([1], sys.argv[1])", path], cwd=ROOT)
    (leftover,) = tmp_path.iterdir()
    os.utime(leftover, (0, 0))
    splits.write_json([2], path)
    assert [p.name for p in tmp_path.iterdir()] == ["split.json"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError) as error:
        splits.write_json([1], tmp_path / "file" / "split.json")
    assert str(tmp_path / "file") in str(error.value) and "--output-dir" not in str(error.value)


def test_missing_images_are_counted(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.jpg").touch()
    items = [Item("a/0.jpg", 0, "a"), Item("a/1.jpg", 0, "a"), Item("b/0.jpg", 1, "b")]
    splits.check_images(items[:1], str(tmp_path), "x.json")
    with pytest.raises(FileNotFoundError, match=r"x.json names 2 image.*a/1.jpg"):
        splits.check_images(items, str(tmp_path), "x.json")


@pytest.mark.parametrize(
    "train, test, word",
    [
        ([], [Item("a", 0, "a")], "no train images"),
        ([Item("a", 0, "a")], [], "no test images"),
        ([Item("a", 0, "a"), Item("b", 2, "b")], [Item("a", 0, "a")], "labels 0 to 1"),
        ([Item("a", 0, "a"), Item("b", 0, "b")], [Item("a", 0, "a")], "label 0 is both 'a' and 'b'"),
        ([Item("a", 0, "a")], [Item("b", 1, "b")], "label 1 is in val or test"),
    ],
)
def test_labels_that_make_no_task(train, test, word):
    with pytest.raises(ValueError, match=word):
        splits.check_classes(Split(train, [], test), "x.json")


def test_equal_class_names_are_said(capsys):
    items = [Item("a", 0, "crane"), Item("b", 1, "crane")]
    splits.check_classes(Split(items, [], items), "x.json")
    assert "labels [0, 1] are all called 'crane'" in capsys.readouterr().out

"""Compares split files, few-shot sampling and base/new classes with plain code."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import splits
from datasets.splits import Item, Split
from tests.user_errors import assert_facts, raises_user_error

ROOT = Path(__file__).resolve().parents[2]
counts_strategy = st.lists(st.integers(1, 12), min_size=1, max_size=12)


def make_items(counts, order_seed=0):
    items = [Item(f"c{c}/{i}.jpg", c, f"class {c}") for c, n in enumerate(counts) for i in range(n)]
    random.Random(order_seed).shuffle(items)
    return items


@given(counts=counts_strategy, shots=st.integers(1, 16), seed=st.integers(0, 2**32), order=st.integers(0, 9))
def test_shots_are_those_of_pythons_seeded_generator(counts, shots, seed, order):
    train, val = make_items(counts, order), make_items(counts, order + 1)
    rng = random.Random(seed)
    got = splits.sample_shots(train, shots, rng), splits.sample_shots(val, min(shots, 4), rng)

    random.seed(seed)  # the plain rule: one call per class, classes by first image, train before val
    expected = []
    for items, n in ((train, shots), (val, min(shots, 4))):
        chosen = []
        for label in dict.fromkeys(item.label for item in items):
            of_class = [item for item in items if item.label == label]
            chosen += random.sample(of_class, n) if len(of_class) >= n else of_class
        expected.append(chosen)
    assert list(got) == expected


@given(counts=st.lists(st.integers(1, 5), min_size=4, max_size=15), order=st.integers(0, 9))
def test_base_and_new_classes(counts, order):
    items = make_items(counts, order)
    split = Split(items, items[::2], items)
    n_base = (len(counts) + 1) // 2
    every_label = range(len(counts))
    base, new = (splits.subsample_classes(split, subset, every_label) for subset in ("base", "new"))
    for subset, first, labels in ((base, 0, range(n_base)), (new, n_base, range(n_base, len(counts)))):
        for got, every in zip(subset, split, strict=True):
            expected = [item for item in every if item.label in labels]
            assert [(i.path, i.label + first, i.classname) for i in got] == expected
        assert {item.label for item in subset.train} == set(range(len(labels)))
    assert splits.subsample_classes(split, "all", every_label) is split


@pytest.mark.parametrize(
    "classes, base, new",
    [(1000, 500, 500), (100, 50, 50), (37, 19, 18), (101, 51, 50), (397, 199, 198), (47, 24, 23), (10, 5, 5)],
)
def test_base_new_sizes_of_the_papers_datasets(classes, base, new):
    items = make_items([1] * classes)
    subsets = [splits.subsample_classes(Split(items, [], items), subset, range(classes)) for subset in ("base", "new")]
    assert [len(subset.train) for subset in subsets] == [base, new]


@pytest.mark.parametrize("subset", ["Base", "", "old"])
def test_unknown_subset(subset):
    with raises_user_error("DATASET.SUBSAMPLE_CLASSES", "'all', 'base', 'new'", repr(subset), error=ValueError):
        splits.check_subset(subset, 10)


@pytest.mark.parametrize("subset", ["base", "new"])
@pytest.mark.parametrize("classes", [1, 2, 3])
def test_base_and_new_have_at_least_two_classes_each(subset, classes):
    """Three classes would be two base classes and one new class, which every model classifies perfectly."""
    facts = ("DATASET.SUBSAMPLE_CLASSES", repr(subset), "at least 4", f"has {classes}", "'all'")
    with raises_user_error(*facts, error=ValueError):
        splits.check_subset(subset, classes)
    splits.check_subset(subset, 4)
    splits.check_subset("all", classes)


def test_base_and_new_classes_do_not_depend_on_the_selected_images():
    """A selection without images of class 1 does not move class 3 into the base classes."""
    items = [Item(f"{c}.jpg", c, f"class {c}") for c in (0, 2, 3, 4)]
    base = splits.subsample_classes(Split(items, [], items), "base", range(5))
    assert [(item.path, item.label) for item in base.train] == [("0.jpg", 0), ("2.jpg", 2)]


def test_new_classes_without_test_images():
    items = make_items([3] * 4)
    with raises_user_error("DATASET.SUBSAMPLE_CLASSES", "'new'", "no test images", error=ValueError):
        splits.subsample_classes(Split(items, [], [i for i in items if i.label == 0]), "new", range(4))


def test_fewer_images_than_shots_are_reported(capsys):
    for part in ("training", "validation"):
        splits.sample_shots(make_items([2, 5]), 4, random.Random(0), part)
        _, warning = capsys.readouterr().out.splitlines()
        assert_facts(warning, "1 of 2 classes", f"4 {part} images")


def test_split_file_round_trip(tmp_path):
    split = Split(make_items([3, 2]), [], [Item("ä b/ü.jpg", 1, "class 1")])
    splits.write_split(split, tmp_path / "split.json", generated_by="by hand")
    assert splits.read_split(tmp_path / "split.json") == (split, "by hand")
    assert [path.name for path in tmp_path.iterdir()] == ["split.json"]


@pytest.mark.parametrize(
    "text, fact",
    [
        ("{", "JSON"),
        ("[]", "'train', 'val', 'test'"),
        ('{"train": [], "val": []}', "'test'"),
        ('{"train": [["a.jpg", 0]], "val": [], "test": []}', "['a.jpg', 0]"),
        ('{"train": [["a.jpg", "x", "a"]], "val": [], "test": []}', "['a.jpg', 'x', 'a']"),
        ('{"train": [["a.jpg", 1.5, "a"]], "val": [], "test": []}', "1.5"),
        ('{"train": [["a.jpg", true, "a"]], "val": [], "test": []}', "True"),
        ('{"train": [["a.jpg", "0", "a"]], "val": [], "test": []}', "'0'"),
        ('{"train": [["a.jpg", Infinity, "a"]], "val": [], "test": []}', "inf"),
        ('{"train": [["a.jpg", NaN, "a"]], "val": [], "test": []}', "nan"),
        ('{"train": [["a.jpg", -1, "a"]], "val": [], "test": []}', "-1"),
        ('{"train": [["a.jpg", 0, null]], "val": [], "test": []}', "None"),
        ('{"train": 3, "val": [], "test": []}', "int"),
    ],
)
def test_invalid_split_files(tmp_path, text, fact):
    path = tmp_path / "split_zhou_X.json"
    path.write_text(text)
    with raises_user_error(path, fact, error=ValueError):
        splits.read_split(path)


def test_a_failed_write_keeps_the_old_file(tmp_path):
    path = tmp_path / "file.json"
    splits.write_json([1], path)
    with pytest.raises(TypeError):
        splits.write_json([2, object()], path)
    assert json.loads(path.read_text()) == [1]
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_old_temporary_files_of_killed_processes_are_removed(tmp_path):
    path = tmp_path / "split [1].json"
    old, young, other = f"{path.name}.0123abcd.tmp", f"{path.name}.0123abce.tmp", "else.json.0123abcd.tmp"
    for name in (old, young, other):
        (tmp_path / name).touch()
    for name in (old, other):
        os.utime(tmp_path / name, (0, 0))
    splits.write_json([1], path)
    assert {p.name for p in tmp_path.iterdir()} == {path.name, young, other}


def test_the_temporary_file_of_a_killed_process_is_removed_by_the_next_one(tmp_path):
    """The pattern of the removed files matches the temporary files that are really written."""
    path = tmp_path / "split.json"
    killed = "import os, sys; os.replace = lambda *_: os._exit(1); import runtime; from datasets import splits; "
    subprocess.run([sys.executable, "-c", f"{killed}splits.write_json([1], sys.argv[1])", path], cwd=ROOT)
    (leftover,) = tmp_path.iterdir()
    os.utime(leftover, (0, 0))
    splits.write_json([2], path)
    assert [p.name for p in tmp_path.iterdir()] == ["split.json"]


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    with raises_user_error(tmp_path / "file", error=OSError) as error:
        splits.write_json([1], tmp_path / "file" / "split.json")
    assert "--output-dir" not in str(error.value)


def test_missing_images_are_counted(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "0.jpg").touch()
    items = [Item("a/0.jpg", 0, "a"), Item("a/1.jpg", 0, "a"), Item("b/0.jpg", 1, "b")]
    splits.check_images(items[:1], str(tmp_path), "x.json")
    with raises_user_error("x.json", " 2 ", tmp_path / "a" / "1.jpg", error=FileNotFoundError):
        splits.check_images(items, str(tmp_path), "x.json")


@pytest.mark.parametrize(
    "train, test, facts",
    [
        ([], [Item("a", 0, "a")], ["no train"]),
        ([Item("a", 0, "a")], [], ["no test"]),
        ([Item("a", 0, "a"), Item("b", 2, "b")], [Item("a", 0, "a")], ["2 classes", "0 to 1", "label 1"]),
        ([Item("a", 0, "a"), Item("b", 0, "b")], [Item("a", 0, "a")], ["label 0", "'a'", "'b'"]),
        ([Item("a", 0, "a")], [Item("b", 1, "b")], ["label 1", "'b'", "test", "no train"]),
    ],
)
def test_invalid_labels(train, test, facts):
    with raises_user_error("x.json", *facts, error=ValueError):
        splits.check_classes(Split(train, [], test), "x.json")


def rows(*items):
    return [Item(*item) for item in items]


TRAIN = rows(("a", 0, "cat"), ("b", 1, "dog"), ("c", 2, "fox"))


@pytest.mark.parametrize(
    "val, test, facts",
    [
        ([], rows(("d", 0, "dog"), ("e", 1, "cat")), ["label 0", "'cat' in train", "'dog' in test"]),
        (rows(("d", 2, "cat")), TRAIN, ["label 2", "'fox' in train", "'cat' in val"]),
        ([], rows(("d", 3, "eel"), ("e", 3, "elk")), ["label 3", "'eel'", "'elk' in test"]),
        ([], rows(("d", True, "dog")), ["True", "test"]),
        ([], rows(("d", 1.5, "dog")), ["1.5", "test"]),
        ([], rows(("d", float("inf"), "dog")), ["inf", "test"]),
        (rows(("d", "1", "dog")), TRAIN, ["'1'", "val"]),
        ([], rows(("d", -1, "dog")), ["-1", "test"]),
        ([], rows(("d", 1, None)), ["class name", "None"]),
        ([], rows(("d\n* accuracy: 99.99%", 1, "dog")), ["image path", r"\n", "U+000A"]),
        ([], rows(("d", 3, "dog\x1b[2J")), ["class name", "U+001B"]),
    ],
)
def test_labels_of_val_and_test_are_compared_with_train(val, test, facts):
    with raises_user_error("x.json", *facts, error=ValueError):
        splits.check_classes(Split(TRAIN, val, test), "x.json")


def test_classes_without_test_images_are_named(capsys):
    splits.check_classes(Split(TRAIN, [], TRAIN[:2]), "x.json")
    assert_facts(capsys.readouterr().out, "1 of 3", "'fox'")
    splits.check_classes(Split(TRAIN, [], TRAIN), "x.json")
    assert capsys.readouterr().out == ""


def test_duplicate_class_names_are_reported(capsys):
    items = [Item("a", 0, "crane"), Item("b", 1, "crane")]
    splits.check_classes(Split(items, [], items), "x.json")
    assert_facts(capsys.readouterr().out, "[0, 1]", "'crane'")

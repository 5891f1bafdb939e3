"""A user's own images: the three layouts, and irregular folders."""

import os
import random
import shutil

import pytest

from tests.datasets import mini
from tests.datasets.own_images import COUNTS, build, sizes
from tests.user_errors import assert_facts, raises_user_error


@pytest.fixture
def root(tmp_path):
    mini.write_classes(tmp_path, COUNTS)
    return tmp_path


def test_one_folder_per_class(root, capsys):
    before = sorted(root.rglob("*"))
    data = build(root)
    assert data.classnames == ["polar bear", "zebra", "Éléphant"]
    assert sizes(data) == [30, 12, 18]
    assert "50 % train, 20 % val and 30 % test of each class" in capsys.readouterr().out
    random.seed(9)
    assert mini.fingerprint(build(root, seed=7)) == mini.fingerprint(data)
    few = build(root, shots=4, seed=1)
    assert sizes(few) == [12, 8 + 2, 18] and mini.fingerprint(build(root, shots=4, seed=1)) == mini.fingerprint(few)
    assert mini.fingerprint(build(root, shots=4, seed=2)) != mini.fingerprint(few)
    assert sorted(root.rglob("*")) == before, "no file may be written to the user's folder"


def test_base_and_new(root):
    mini.write_classes(root, {"ant": 5})
    base, new = build(root, shots=1, subsample="base"), build(root, shots=1, subsample="new")
    assert (base.classnames, new.classnames) == (["ant", "polar bear"], ["zebra", "Éléphant"])


def test_three_classes_are_too_few_for_base_and_new(root, capsys):
    with raises_user_error("DATASET.SUBSAMPLE_CLASSES", "'new'", "at least 4", "has 3", error=ValueError):
        build(root, shots=1, subsample="new")
    assert "Creating a" not in capsys.readouterr().out


def test_a_new_class_does_not_change_the_split_of_other_classes(root):
    first = build(root)
    mini.write_images(root / "lion", [f"{i}.png" for i in range(5)])
    again = build(root)
    assert again.num_classes == first.num_classes + 1
    zebras = [[d.impath for d in data.train_x if d.classname == "zebra"] for data in (first, again)]
    assert len(zebras[0]) == 15 and zebras[0] == zebras[1]


@pytest.mark.parametrize("val, expected", [("val", [20, 6, 8]), ("validation", [20, 6, 8]), ("", [20, 0, 8])])
def test_train_val_test_folders(tmp_path, val, expected):
    for folder, count in (("train", 10), (val, 3), ("test", 4)):
        if folder:
            mini.write_classes(tmp_path / folder, {"cat": count, "dog": count})
    data = build(tmp_path)
    assert data.classnames == ["cat", "dog"] and sizes(data) == expected
    assert all(f"{os.sep}test{os.sep}" in d.impath for d in data.test)


def test_train_and_val_only(tmp_path):
    mini.write_classes(tmp_path / "train", {"cat": 5, "dog": 5})
    mini.write_classes(tmp_path / "val", {"cat": 2, "dog": 2})
    assert sizes(build(tmp_path)) == [10, 0, 4]


def test_a_class_called_train(tmp_path):
    mini.write_classes(tmp_path, {"bus": 5, "train": 5})
    assert build(tmp_path).classnames == ["bus", "train"]


def test_a_class_without_train_images(tmp_path):
    mini.write_classes(tmp_path / "train", {"cat": 5, "dog": 5})
    mini.write_classes(tmp_path / "test", {"cat": 2, "cow": 2})
    with raises_user_error("'cow'", "test", "train", error=ValueError):
        build(tmp_path)


def test_duplicate_class_names_are_reported(tmp_path, capsys):
    mini.write_classes(tmp_path, {"polar_bear": 4, "polar bear": 4})
    build(tmp_path)
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING: ")]
    assert_facts(warning, "[0, 1]", "'polar bear'")


def test_empty_class_folders_are_skipped(root, capsys):
    (root / "lion").mkdir()
    (root / "tiger" / "deeper").mkdir(parents=True)
    assert build(root).num_classes == 3
    lion, tiger = [line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING: ")]
    assert_facts(lion, root / "lion")
    assert_facts(tiger, root / "tiger")


@pytest.mark.parametrize("name", ["cat\n* accuracy: 99.99%", "cat\x1b[2J", "cat\u202etac"])
@pytest.mark.parametrize("images", [[], ["1.png", "2.png", "3.png"]])
def test_folders_with_control_characters_are_refused(root, capsys, name, images):
    """Also an empty folder, whose name a warning would print."""
    mini.write_images(root / name, images)
    with raises_user_error(root, "U+", error=ValueError):
        build(root)
    assert "99.99" not in capsys.readouterr().out


def test_joiners_and_other_scripts_are_accepted(root):
    mini.write_images(root / "می\u200cخواهم", [f"{i}.png" for i in range(4)])
    assert build(root).num_classes == 4


def test_broken_links_and_link_loops_are_skipped(root):
    expected = mini.fingerprint(build(root))
    (root / "circle").symlink_to(root / "circle")
    (root / "nowhere").symlink_to(root / "gone")
    (root / "zebra" / "up").symlink_to(root)
    (root / "zebra" / "self.jpg").symlink_to(root / "zebra" / "self.jpg")
    assert mini.fingerprint(build(root)) == expected


def test_linked_folders_are_followed(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    shutil.move(root / "zebra", other)
    (root / "zebra").symlink_to(other / "zebra")
    assert build(root).num_classes == 3


def test_other_files_are_skipped(root):
    expected = mini.fingerprint(build(root))
    for name in ("Thumbs.db", "notes.txt", ".DS_Store", ".hidden.jpg", "._zebra_001.jpg"):
        (root / "zebra" / name).write_text("x")
    (root / "readme.md").write_text("x")
    (root / ".cache").mkdir()
    (root / "__MACOSX" / "zebra").mkdir(parents=True)
    (root / "__MACOSX" / "zebra" / "1.jpg").write_text("x")
    assert mini.fingerprint(build(root)) == expected


@pytest.mark.parametrize(
    "make, facts",
    [
        (lambda root: None, ["no images", "cat/1.jpg"]),
        (lambda root: mini.write_images(root, ["1.jpg", "2.jpg"]), ["no images", "cat/1.jpg"]),
        (lambda root: mini.write_classes(root, {"cat": 2, "dog": 9}), ["'cat'", "2 image"]),
    ],
)
def test_folders_without_enough_images(tmp_path, make, facts):
    make(tmp_path)
    with raises_user_error(tmp_path, *facts, error=ValueError):
        build(tmp_path)


def test_three_images_are_enough(tmp_path):
    mini.write_classes(tmp_path, {"cat": 3, "dog": 3})
    assert sizes(build(tmp_path, shots=16)) == [2, 2, 2]


def test_one_class(tmp_path):
    mini.write_classes(tmp_path, {"cat": 9})
    assert build(tmp_path).num_classes == 1


def test_no_root_and_missing_root(tmp_path):
    with raises_user_error("DATASET.ROOT", "--root", error=ValueError):
        build("")
    with raises_user_error(tmp_path / "gone", "docs/datasets.md", error=FileNotFoundError):
        build(tmp_path / "gone")

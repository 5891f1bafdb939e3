"""Which files are a user's images: endings, deeper and wrapping folders, names of splits, unreadable files."""

import os
from pathlib import Path

import pytest
from PIL import Image

from dassl.utils.images import FORMATS
from datasets import own_images
from datasets.image_folders import ALWAYS, IMAGE_SUFFIXES, OPTIONAL, list_images
from tests.datasets import mini
from tests.datasets.own_images import build, sizes
from tests.user_errors import assert_facts, raises_user_error
from tools import predict


def touch(folder, *names):
    for name in names:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")


def lines_with(capsys, *facts):
    lines = capsys.readouterr().out.splitlines()
    return [line for line in lines if all(str(fact) in line for fact in facts)]


def test_endings_are_those_of_the_formats_that_are_opened():
    Image.init()
    registered = {ending for ending, name in Image.registered_extensions().items() if name in (*FORMATS, "MPO")}
    assert registered == set(IMAGE_SUFFIXES) - {".heic", ".heif", ".hif"}
    assert not {".eps", ".ps", ".wmf", ".emf", ".pdf", ".mpg", ".h5"} & set(ALWAYS)


def test_training_and_prediction_find_the_same_images(tmp_path, monkeypatch, capsys):
    images = ["1.JPG", "2.jfif", "3.jp2", "deep/er/4.png", "deep/5.webp", "6.tiff"]
    others = ["notes.txt", "b.TXT", "x.heic", "plain", "deep/y.csv", ".hidden.jpg", "._1.JPG", ".git/7.jpg"]
    touch(tmp_path / "cat", *images, *others)
    os.symlink(tmp_path / "cat", tmp_path / "cat" / "circle")
    os.symlink(tmp_path / "gone", tmp_path / "cat" / "broken.jpg")
    monkeypatch.setattr(own_images, "IMAGE_SUFFIXES", ALWAYS)  # without pillow-heif
    found = own_images.find_images(tmp_path / "cat")
    assert found.paths == ["1.JPG", "2.jfif", "3.jp2", "6.tiff", "deep/5.webp", "deep/er/4.png"]
    expected = (
        "left out: 2 .txt, 1 .csv, 1 .heic (pip install pillow-heif), 1 files without an ending, 1 links to folders"
    )
    assert own_images.describe(found.left_out) == expected
    touch(tmp_path / "dog", *images)
    data = build(tmp_path)
    trained = sorted(d.impath for split in (data.train_x, data.val, data.test) for d in split if d.classname == "cat")
    assert trained == sorted(predict.find_images([str(tmp_path / "cat")]))
    captured = capsys.readouterr()
    assert expected in captured.out and expected in captured.err


def test_prediction_says_why_there_are_no_images(tmp_path):
    touch(tmp_path, "x.avi", "y.avi")
    with raises_user_error(tmp_path, "2 .avi", ".jpg", error=FileNotFoundError):
        predict.find_images([str(tmp_path)])


def test_optional_endings_say_what_they_need():
    assert {needs.remedy for needs in OPTIONAL.values()} == {"pip install pillow-heif", "needs Pillow 11.3"}
    assert set(OPTIONAL).isdisjoint(ALWAYS)


def test_lists_of_one_folder_are_not_recursive(tmp_path):
    """CoOp's datasets have fixed layouts: what lies deeper is none of their images."""
    touch(tmp_path, "a.jpg", "deep/b.jpg", ".c.jpg")
    assert list_images(tmp_path) == ["a.jpg"]


def test_deeper_images_belong_to_the_first_folder(tmp_path, capsys):
    mini.write_classes(tmp_path, {"cat": 4, "dog": 4})
    mini.write_images(tmp_path / "cat" / "2023" / "may", ["x.png", "y.png"])
    data = build(tmp_path)
    assert data.classnames == ["cat", "dog"] and sum(sizes(data)) == 10
    (line,) = lines_with(capsys, "Note: ")
    assert_facts(line, " 2 ", "'cat'", "cat/2023/may/x.png")


def test_images_outside_the_layout_are_counted(tmp_path, capsys):
    mini.write_classes(tmp_path, {"cat": 4, "dog": 4})
    mini.write_images(tmp_path, ["stray.jpg"])
    build(tmp_path)
    assert lines_with(capsys, tmp_path, "left out: 1 images outside class folders")
    build_split(tmp_path / "split", "train", "test")
    mini.write_classes(tmp_path / "split" / "unlabeled", {"cat": 4})
    capsys.readouterr()
    build(tmp_path / "split")
    assert lines_with(capsys, "1 folders next to the splits")


def build_split(root, *names):
    for name in names:
        mini.write_classes(root / name, {"cat": 3, "dog": 3})
    return root


@pytest.mark.parametrize(
    "names, expected",
    [
        (("Train", "Test"), [6, 0, 6]),
        (("training", "testing", "validation"), [6, 6, 6]),
        (("TRAIN", "Valid"), [6, 0, 6]),
    ],
)
def test_names_of_splits(tmp_path, names, expected):
    data = build(build_split(tmp_path, *names))
    assert data.classnames == ["cat", "dog"] and sizes(data) == expected


def test_two_folders_for_one_split_are_refused(tmp_path):
    with raises_user_error("'train'", "'training'", error=ValueError):
        build(build_split(tmp_path, "train", "training", "test"))


@pytest.mark.parametrize("inner", ["pets", "archive/pets"])
def test_a_single_wrapping_folder_is_entered(tmp_path, inner, capsys):
    mini.write_classes(tmp_path / inner, {"cat": 4, "dog": 4})
    (tmp_path / "__MACOSX").mkdir()
    (tmp_path / "readme.txt").write_text("x")
    data = build(tmp_path)
    assert data.classnames == ["cat", "dog"] and sizes(data) == [4, 2, 2]
    assert lines_with(capsys, tmp_path / inner)
    assert all(Path(d.impath).is_file() for d in data.test)


def test_a_wrapped_train_and_test(tmp_path):
    assert sizes(build(build_split(tmp_path / "pets", "Train", "Test").parent)) == [6, 0, 6]


def test_a_single_class_is_not_a_wrapping_folder(tmp_path):
    mini.write_classes(tmp_path, {"cat": 4})
    mini.write_images(tmp_path / "cat" / "more", ["x.png"])
    assert build(tmp_path).classnames == ["cat"]
    os.symlink(tmp_path / "circle", tmp_path / "circle")
    assert own_images.unwrap(tmp_path) == ""
    (tmp_path / "linked").mkdir()
    os.symlink(tmp_path / "linked", tmp_path / "linked" / "again")
    assert own_images.unwrap(tmp_path / "linked").count("again") <= 3


def test_unreadable_images_are_skipped_before_the_split(tmp_path, capsys):
    mini.write_classes(tmp_path, {"cat": 11, "dog": 10})
    expected = build(tmp_path)
    broken = tmp_path / "cat" / "cat_010.jpg"
    broken.write_bytes(b"\xff\xd8\xff no more")
    mini.write_images(tmp_path / "without" / "cat", [f"cat_{i:03d}.jpg" for i in range(10)])
    mini.write_images(tmp_path / "without" / "dog", [f"dog_{i:03d}.jpg" for i in range(10)])
    capsys.readouterr()
    data = build(tmp_path / "without")
    skipped_root = tmp_path / "without"
    (skipped_root / "cat" / "cat_010.jpg").write_bytes(b"")
    skipped = build(skipped_root, skip_unreadable=True)
    assert sizes(expected) == [11, 4, 6] and mini.fingerprint(skipped) == mini.fingerprint(data)
    (line,) = lines_with(capsys, "Skipping")
    assert_facts(line, " 1 ", " 21 ", skipped_root / "cat" / "cat_010.jpg")


def test_missing_images_of_a_list_are_not_skipped(tmp_path):
    mini.write_classes(tmp_path, {"cat": 4})
    rows = [f"cat/cat_{i:03d}.jpg,cat" for i in range(5)]
    (tmp_path / "list.csv").write_text("\n".join(rows))
    with raises_user_error("1 missing", "cat/cat_004.jpg", error=FileNotFoundError):
        build(tmp_path, list_="list.csv", skip_unreadable=True)

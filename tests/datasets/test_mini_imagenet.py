"""Mini-ImageNet: the images that the lists name, among ImageNet's or ready-made ones, and episodes on them."""

import json
import shutil

import pytest
from PIL import Image

from tests.datasets import mini
from tests.datasets.mini_raw import NAMES, NUMBERS, WNIDS, mini_imagenet, write_table
from tests.user_errors import assert_facts, raises_user_error
from tools import episodes


@pytest.fixture
def root(tmp_path):
    mini_imagenet("test")(tmp_path)
    return tmp_path


def test_positions_are_among_the_images_sorted_by_number(root):
    data = mini.build("MiniImageNet", root)
    expected = [
        (str(root / "imagenet" / "images" / "train" / wnid / f"{wnid}_{sorted(NUMBERS)[position - 1]}.jpg"), name)
        for wnid, name in reversed(list(zip(WNIDS, NAMES, strict=True)))
        for position in range(2, 13)
    ]
    assert [(item.impath, item.classname) for item in data.test] == expected
    assert data.classnames == NAMES, "labels are in the order of the class folders, not of the list"


@pytest.mark.parametrize("in_folders", [False, True])
def test_ready_made_images(root, in_folders):
    names = [line.split(",") for line in (root / "mini-imagenet" / "test.csv").read_text().splitlines()[1:]]
    shutil.rmtree(root / "imagenet" / "images")
    for file, wnid in names:
        mini.write_images(root / "mini-imagenet" / "images" / (wnid if in_folders else ""), [file])
    data = mini.build("MiniImageNet", root)
    tails = [f"{wnid}/{file}" if in_folders else f"images/{file}" for file, wnid in names]
    assert [item.impath.endswith(tail) for item, tail in zip(data.test, tails, strict=True)] == [True] * len(tails)
    shutil.move(root / "imagenet" / "classnames.txt", root / "mini-imagenet" / "classnames.txt")
    assert mini.build("MiniImageNet", root).classnames == NAMES


def test_wrong_data(root):
    folder = root / "imagenet" / "images" / "train" / WNIDS[1]
    for number in NUMBERS[:4]:
        (folder / f"{WNIDS[1]}_{number}.jpg").unlink()
    with raises_user_error("test.csv", f"{WNIDS[1]}00000011.jpg", "image 11", "10 images", error=ValueError):
        mini.build("MiniImageNet", root)
    write_table(root / "mini-imagenet" / "test.csv", ("filename", "label"), [("n0000000100000001.jpg", "n00000001")])
    with raises_user_error("n00000001", "classnames.txt", error=ValueError):
        mini.build("MiniImageNet", root)
    shutil.rmtree(root / "imagenet" / "images")
    with raises_user_error(
        "MiniImageNet", root / "imagenet", root / "mini-imagenet" / "images", error=FileNotFoundError
    ):
        mini.build("MiniImageNet", root)


def test_episodes(root, tmp_path, capsys):
    for path in root.rglob("*.jpg"):
        Image.open(path).resize((32, 32)).save(path, "PNG")
    argv = [
        "mini_imagenet",
        "--root",
        str(root),
        "--backbone",
        "micro",
        "--output",
        str(tmp_path / "out"),
        "--episodes",
    ]
    argv += ["3", "--ways", "3", "--shots", "1", "--method", "NearestMean", "--queries"]
    assert episodes.main([*argv, "8", "--", "USE_CUDA", "False", "INPUT.SIZE", "(32,32)"]) == 0
    record = json.loads((tmp_path / "out" / "NearestMean_3way_1shot" / "episodes.json").read_text())
    assert record["identity"]["classes"] == NAMES
    capsys.readouterr()
    assert episodes.main([*argv, "11", "--", "USE_CUDA", "False"]) == 1  # 11 images of each class
    assert_facts(capsys.readouterr().err.splitlines()[-1], "--ways 3", "0 classes", "1 support and 11 query images")

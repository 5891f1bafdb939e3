"""The Folder dataset with lists of images and of class names, valid and invalid."""

import json

import pytest

from datasets.splits import Split
from tests.datasets import mini
from tests.datasets.own_images import COUNTS, build, sizes
from tests.user_errors import raises_user_error


@pytest.fixture
def root(tmp_path):
    mini.write_classes(tmp_path, COUNTS)
    return tmp_path


ROWS = [(f"polar bear/polar bear_{i:03d}.jpg", "bear") for i in range(10)] + [
    (f"zebra/zebra_{i:03d}.jpg", "zebra, striped") for i in range(10)
]


def write_csv(path, rows, header=""):
    path.write_text(header + "".join(",".join(f'"{cell}"' for cell in row) + "\n" for row in rows), encoding="utf-8")


@pytest.mark.parametrize("header", ["", "path,class\n", "\ufeffPath,Class\n"])
def test_csv_list(root, header):
    write_csv(root / "list.csv", ROWS, header)
    data = build(root, list_="list.csv")
    assert data.classnames == ["bear", "zebra, striped"] and sizes(data) == [10, 4, 6]


def test_list_with_a_part_column(root):
    parts = ["train"] * 6 + ["val"] * 1 + ["test"] * 3
    rows = [(*row, parts[i % 10]) for i, row in enumerate(ROWS)]
    write_csv(root / "list.csv", rows, "path,class,part\n")
    (root / "list.json").write_text(json.dumps(rows))
    data = build(root, list_="list.csv")
    assert sizes(data) == [12, 2, 6]
    assert mini.fingerprint(build(root, list_=str(root / "list.json"))) == mini.fingerprint(data)
    coop = {split: [[path, 9, name] for path, name, part in rows if part == split] for split in Split._fields}
    (root / "split.json").write_text(json.dumps(coop))
    assert mini.fingerprint(build(root, list_="split.json")) == mini.fingerprint(data)


def test_list_with_absolute_paths(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    write_csv(other / "list.csv", [(root / path, name) for path, name in ROWS])
    data = build(other, list_="list.csv")
    assert sizes(data) == [10, 4, 6] and data.test[0].impath.startswith(str(root))


@pytest.mark.parametrize(
    "name, text, facts",
    [
        ("x.csv", None, []),
        ("x.csv", "", ["train", "test", "[]"]),
        ("x.csv", "a.jpg\n", ["path", "class", "['a.jpg']"]),
        ("x.csv", "a.jpg,cat\na.jpg,dog\n", ["duplicate", "a.jpg"]),
        ("x.csv", "a.jpg,cat,training\n", ["a.jpg", "train, val or test", "'training'"]),
        ("x.csv", "a.jpg,cat,train\nb.jpg,cat,val\n", ["train", "test", "['train', 'val']"]),
        ("x.csv", "a.jpg,\n", ["path", "class", "['a.jpg', '']"]),
        ("x.json", "[", ["JSON"]),
        ("x.json", "[3]", ["path", "class", "3"]),
        ("x.json", '{"train": [[1]]}', ["path", "label", "[1]"]),
        ("x.csv", b"\xff\xfe\x00", ["JSON", "CSV", "UTF-8"]),
        ("x.csv", "nowhere/1.jpg,cat\nnowhere/2.jpg,cat\nnowhere/3.jpg,cat\n", [" 3 ", "nowhere/"]),
    ],
)
def test_invalid_lists(root, name, text, facts):
    if text is not None:
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with raises_user_error(name, *facts, error=(ValueError, FileNotFoundError)):
        build(root, list_=name)


@pytest.mark.parametrize("name", ["names.csv", "names.json"])
def test_class_names_from_a_file(root, name):
    names = {"zebra": "striped horse", "polar bear": "white bear"}
    (root / "names.json").write_text(json.dumps(names))
    write_csv(root / "names.csv", names.items())
    assert build(root, classnames=name).classnames == ["white bear", "striped horse", "Éléphant"]


@pytest.mark.parametrize(
    "text, facts",
    [
        ("lion,cat\n", ["unknown", "'lion'"]),
        ("zebra,\n", ["empty", "'zebra'"]),
        ("zebra\n", ["folder", "class name"]),
    ],
)
def test_invalid_class_names(root, text, facts):
    (root / "names.csv").write_text(text)
    with raises_user_error("names.csv", *facts, error=ValueError):
        build(root, classnames="names.csv")

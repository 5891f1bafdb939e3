"""The Folder dataset on lists of images and of class names, good and bad."""

import json

import pytest

from datasets.splits import Split
from tests.datasets import mini
from tests.datasets.own_images import COUNTS, build, sizes


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


def test_list_with_parts(root):
    parts = ["train"] * 6 + ["val"] * 1 + ["test"] * 3
    rows = [(*row, parts[i % 10]) for i, row in enumerate(ROWS)]
    write_csv(root / "list.csv", rows, "path,class,part\n")
    (root / "list.json").write_text(json.dumps(rows))
    data = build(root, list_="list.csv")
    assert sizes(data) == [12, 2, 6]
    assert mini.fingerprint(build(root, list_=str(root / "list.json"))) == mini.fingerprint(data)
    coop = {part: [[path, 9, name] for path, name, p in rows if p == part] for part in Split._fields}
    (root / "split.json").write_text(json.dumps(coop))
    assert mini.fingerprint(build(root, list_="split.json")) == mini.fingerprint(data)


def test_list_with_absolute_paths(root, tmp_path_factory):
    other = tmp_path_factory.mktemp("elsewhere")
    write_csv(other / "list.csv", [(root / path, name) for path, name in ROWS])
    data = build(other, list_="list.csv")
    assert sizes(data) == [10, 4, 6] and data.test[0].impath.startswith(str(root))


@pytest.mark.parametrize(
    "name, text, word",
    [
        ("x.csv", None, "there is no file .*x.csv"),
        ("x.csv", "", "must have images for train and test, or no parts"),
        ("x.csv", "a.jpg\n", r"a row must be path, class or path, class, part, got \['a.jpg'\]"),
        ("x.csv", "a.jpg,cat\na.jpg,dog\n", "duplicate image a.jpg"),
        ("x.csv", "a.jpg,cat,training\n", "the part of a.jpg must be train, val or test, got 'training'"),
        ("x.csv", "a.jpg,cat,train\nb.jpg,cat,val\n", "must have images for train and test"),
        ("x.csv", "a.jpg,\n", "a row must be path, class"),
        ("x.json", "[", "x.json is not valid JSON"),
        ("x.json", "[3]", "a row must be path, class"),
        ("x.json", '{"train": [[1]]}', "a row must be"),
        ("x.csv", b"\xff\xfe\x00", "neither JSON nor CSV in UTF-8"),
        ("x.csv", "nowhere/1.jpg,cat\nnowhere/2.jpg,cat\nnowhere/3.jpg,cat\n", r"x.csv names 3 image\(s\).*nowhere"),
    ],
)
def test_bad_lists(root, name, text, word):
    if text is not None:
        (root / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises((ValueError, FileNotFoundError), match=word) as error:
        build(root, list_=name)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["names.csv", "names.json"])
def test_class_names_from_a_file(root, name):
    names = {"zebra": "striped horse", "polar bear": "white bear"}
    (root / "names.json").write_text(json.dumps(names))
    write_csv(root / "names.csv", names.items())
    assert build(root, classnames=name).classnames == ["white bear", "striped horse", "Éléphant"]


@pytest.mark.parametrize(
    "text, word",
    [
        ("lion,cat\n", "names.csv has a name for 'lion', which is no class here"),
        ("zebra,\n", "gives 'zebra' an empty class name"),
        ("zebra\n", "rows must be a folder and its class name"),
    ],
)
def test_bad_class_names(root, text, word):
    (root / "names.csv").write_text(text)
    with pytest.raises(ValueError, match=word):
        build(root, classnames="names.csv")

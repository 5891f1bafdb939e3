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


def test_list_without_test_images(root):
    """Only for a run that tests nothing."""
    write_csv(root / "list.csv", [(*row, "val" if i % 5 == 0 else "train") for i, row in enumerate(ROWS)])
    with raises_user_error("list.csv", "test", "TEST.NO_TEST True"):
        build(root, list_="list.csv")
    data = build(root, list_="list.csv", no_test=True)
    assert sizes(data) == [16, 4, 0] and data.classnames == ["bear", "zebra, striped"]


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
        ("x.csv", "a.jpg,cat,holdout\n", ["a.jpg", "train, val or test", "'holdout'"]),
        ("x.csv", "a.jpg,cat,train\nb.jpg,cat,val\n", ["train", "test", "['train', 'val']"]),
        ("x.csv", "a.jpg,\n", ["path", "class", "['a.jpg', '']"]),
        ("x.json", "[", ["JSON"]),
        ("x.json", "[3]", ["path", "class", "3"]),
        ("x.json", '[["a.jpg", Infinity]]', ["path", "class", "inf"]),
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


@pytest.mark.parametrize(
    "header, make_row",
    [
        ("image,label", "{path},{name}"),
        ("filename;class", "{path};{name}"),
        ("\ufefffile\tcategory", "{path}\t{name}"),
        ("Class Name,Image Path", "{name},{path}"),
        ("split,label,file_name", "train,{name},{path}"),
        ("", "{path};{name}"),
        ("", "{path}\t{name}"),
        ("", "{windows},{name}"),
        ("", "{windows};{name}"),
    ],
)
def test_lists_as_other_programs_write_them(root, header, make_row):
    rows = [(path, name.replace(", ", " ")) for path, name in ROWS]
    lines = [make_row.format(path=path, windows=path.replace("/", "\\"), name=name) for path, name in rows]
    if header.startswith("split"):
        lines = [line if i % 10 < 6 else line.replace("train", "Testing") for i, line in enumerate(lines)]
    (root / "list.csv").write_text("\r\n".join([header, *lines]), encoding="utf-8")
    data = build(root, list_="list.csv")
    assert data.classnames == ["bear", "zebra striped"]
    assert sizes(data) == ([12, 0, 8] if header.startswith("split") else [10, 4, 6])
    assert {d.impath for d in data.test} <= {str(root / path) for path, _ in rows}


def test_back_slashes_and_a_byte_order_mark_in_json(root):
    rows = [[path.replace("/", "\\"), name] for path, name in ROWS]
    (root / "list.json").write_text("\ufeff" + json.dumps(rows), encoding="utf-8")
    assert sizes(build(root, list_="list.json")) == [10, 4, 6]


def test_a_file_name_with_a_back_slash(root):
    mini.write_images(root / "cat", [f"a\\{i}.jpg" for i in range(3)])
    (root / "list.csv").write_text("".join(f"cat/a\\{i}.jpg,cat\n" for i in range(3)))
    assert sizes(build(root, list_="list.csv")) == [1, 1, 1]


def test_a_list_with_two_possible_separators(root):
    rows = [(path, "bear, white") for path, _ in ROWS[:10]]
    text = "".join(f"{path};{name}\n" for path, name in rows)
    (root / "list.csv").write_text(text)
    with raises_user_error("list.csv", "commas", "semicolons", "path;class", error=ValueError):
        build(root, list_="list.csv")
    (root / "list.csv").write_text("path;class\n" + text)
    assert build(root, list_="list.csv").classnames == ["bear, white"]


@pytest.mark.parametrize("name", ["names.csv", "names.json"])
def test_class_names_from_a_file(root, name):
    names = {"zebra": "striped horse", "polar bear": "white bear"}
    (root / "names.json").write_text(json.dumps(names))
    write_csv(root / "names.csv", names.items(), "folder,name\n")
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

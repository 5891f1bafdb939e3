"""`prepare_data.py --check` on miniature data folders: complete, incomplete, and in other layouts."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from datasets import catalogue
from tests.datasets import mini
from tests.datasets.mini_raw import BUILDERS
from tools import prepare_data
from tools.prepare import check_data


@pytest.fixture
def check(tmp_path, tmp_path_factory, monkeypatch, capsys):
    """Runs `--check` on tmp_path; returns exit code and output. `counts` replaces the published counts."""
    monkeypatch.chdir(tmp_path_factory.mktemp("current"))  # lists of unreadable images are written there

    def check(*names, counts=(), options=()):
        for name in catalogue.entries():
            monkeypatch.setattr(check_data.DATASET_REGISTRY.get(name), "counts", counts)
        capsys.readouterr()
        code = prepare_data.main(["--check", *names, "--root", str(tmp_path), *options])
        return code, capsys.readouterr().out

    return check


def write_complete(name, root):
    """Writes a miniature of a dataset. A generated split file is made to look like a published one."""
    BUILDERS[name](root)
    mini.build(name, root)
    for path in Path(root).rglob("split_zhou_*.json"):
        content = json.loads(path.read_text())
        del content["made"]
        path.write_text(json.dumps(content))


def line_with(out, *facts):
    """Returns the one line of the output that has all facts."""
    (line,) = [line for line in out.splitlines() if all(str(fact) in line for fact in facts)]
    return line


@pytest.mark.parametrize("name", BUILDERS)
def test_complete_datasets_are_ok_and_not_changed(tmp_path, check, name):
    write_complete(name, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    code, out = check(name)
    assert code == 0 and line_with(out, "ok").split()[:2] == [name, "ok"]
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name", [name for name in BUILDERS if check_data.DATASET_REGISTRY.get(name).split_file])
def test_missing_and_generated_split_files(tmp_path, check, name):
    BUILDERS[name](tmp_path)
    code, out = check(name)
    file = check_data.DATASET_REGISTRY.get(name).split_file
    command = f"`python tools/prepare_data.py {name} --root {tmp_path}`"
    assert code == 1 and line_with(out, file, "missing", command)
    assert not list(tmp_path.rglob("split_zhou_*")), "--check must not write files"
    mini.build(name, tmp_path)
    code, out = check(name)
    generated_by = json.loads(next(tmp_path.rglob(file)).read_text())["made"]
    assert code == 1 and line_with(out, file, generated_by, command)


def test_an_empty_data_folder(tmp_path, check):
    code, out = check()
    lines = [line for line in out.splitlines() if not line.startswith(" ")]
    assert code == 1 and len(lines) == 24 and all("missing" in line for line in lines)
    assert not list(tmp_path.iterdir())


def test_one_complete_and_one_missing_dataset(tmp_path, check):
    write_complete("EuroSAT", tmp_path)
    assert check("eurosat")[0] == 0
    code, out = check("eurosat", "dtd")
    states = [line.split()[:2] for line in out.splitlines() if not line.startswith(" ")]
    assert code == 1 and states == [["EuroSAT", "ok"], ["DescribableTextures", "missing"]]


def test_counts_are_compared(tmp_path, check):
    write_complete("EuroSAT", tmp_path)
    assert check("eurosat", counts=[4, 20, 8, 12])[0] == 0
    code, out = check("eurosat", counts=[10, 20, None, 8100])
    line = line_with(out, "4 classes", "10", "12 test", "8,100")
    assert code == 1 and "20 train" not in line and "8 val" not in line


def test_layouts_are_those_of_datasets():
    layouts = check_data.load_layouts()
    assert layouts.keys() <= catalogue.entries().keys()
    assert all(layout and layout.keys() <= {"elsewhere", "wrong"} for layout in layouts.values())


def image_of(root, name):
    data = mini.build(name, root)
    return Path(data.test[0].impath)


def test_unreadable_and_missing_images(tmp_path, check, monkeypatch):
    write_complete("EuroSAT", tmp_path)
    path = image_of(tmp_path, "EuroSAT")
    Image.effect_noise((64, 64), 50).convert("RGB").save(path, "JPEG")
    assert check("eurosat")[0] == 0
    path.write_bytes(path.read_bytes()[:-200])
    code, out = check("eurosat")
    assert code == 1 and line_with(out, "1 unreadable", path, "truncated")
    assert check("eurosat", options=["--no-images"])[0] == 0
    path.write_bytes(b"")
    assert line_with(check("eurosat")[1], "1 unreadable", path, "empty")
    Image.new("L", (50, 50)).save(path, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1200)
    assert line_with(check("eurosat")[1], "1 unreadable", path, "too large", "2,500 pixels")
    Image.fromarray(np.full((4, 4), 9, np.int32)).save(path, "TIFF")
    assert line_with(check("eurosat")[1], "1 unreadable", path, "mode I", "from 9 to 9")
    path.unlink()
    code, out = check("eurosat")
    assert code == 1 and line_with(out, "1 missing", path)


@pytest.mark.parametrize(
    "name, folder",
    [(name, folder) for name, layout in check_data.load_layouts().items() for folder in layout.get("elsewhere", [])],
)
def test_images_in_other_folders_are_found(tmp_path, check, name, folder):
    write_complete(name, tmp_path / "complete")
    expected = Path(check_data.DATASET_REGISTRY.get(name).at_root(tmp_path).image_dir)
    source = Path(check_data.DATASET_REGISTRY.get(name).at_root(tmp_path / "complete").image_dir)
    (tmp_path / folder).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, tmp_path / folder)
    code, out = check(name)
    remedy = f"mkdir -p '{expected.parent}' && mv '{tmp_path / folder}' '{expected}'"
    assert code == 1 and line_with(out, remedy)


@pytest.mark.parametrize(
    "name, path, remedy",
    [
        ("StanfordCars", "cars_train/cars_train/00001.jpg", "nested"),
        ("StanfordCars", "cars_test/cars_test/00001.jpg", "nested"),
        (
            "StanfordCars",
            "car_data/car_data/train/Audi 100 Wagon 1994/00001.jpg",
            "car_data/**/train/*/*.jpg into cars_train/",
        ),
        ("StanfordCars", "train/Audi 100 Wagon 1994/00001.jpg", " train/*/*.jpg into cars_train/"),
        ("StanfordCars", "car_ims/000001.jpg", "get cars_train and cars_test"),
        ("StanfordCars", "data/train-00000.parquet", "get cars_train and cars_test"),
        ("OxfordFlowers", "train/1/image_0001.jpg", "get jpg/"),
        ("SUN397", "a/abbey/sun_1.jpg", "into SUN397/"),
        ("EuroSAT", "2750/Forest/Forest_1.tif", "RGB"),
        ("UCF101", "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi", "UCF-101-midframes.zip"),
        ("ImageNet", "train/n01440764/1.JPEG", "into images/"),
        ("ImageNet", "images/val/ILSVRC2012_val_00000001.JPEG", "valprep.sh"),
        ("Caltech101", "101_ObjectCategories.tar.gz", "unpack"),
        ("DescribableTextures", "dtd-r1.0.1.tar.gz", "unpack"),
    ],
)
def test_other_layouts_are_recognised(tmp_path, check, name, path, remedy):
    path = Path(check_data.DATASET_REGISTRY.get(name).at_root(tmp_path).dataset_dir) / path
    path.parent.mkdir(parents=True)
    path.touch()
    code, out = check(name)
    problems = [line.strip() for line in out.splitlines() if line.startswith(" ")]
    assert code == 1 and any(str(path).startswith(line.partition(": ")[0]) and remedy in line for line in problems)


def test_own_images(tmp_path, check):
    mini.write_classes(tmp_path, {"cat": 5, "dog": 5})
    code, out = check("folder")
    assert code == 0 and out.splitlines()[-1].split() == "Folder ok 2 classes, 4 train, 2 val, 4 test".split()
    broken = [str(tmp_path / folder / f"{folder}_{i:03d}.jpg") for folder in ("cat", "dog") for i in (1, 3)]
    for path in broken:
        Path(path).write_bytes(b"no image")
    (tmp_path / "cat" / "notes.txt").write_text("x")
    code, out = check("folder")
    assert code == 1 and line_with(out, "left out", "1 .txt")
    assert line_with(out, "4 unreadable", "unreadable_Folder.txt", "DATASET.FOLDER.SKIP_UNREADABLE True")
    rows = [line.split("\t") for line in Path("unreadable_Folder.txt").read_text().splitlines()]
    assert sorted(path for path, _ in rows) == broken and all(path in reason for path, reason in rows)


def test_a_list_of_unreadable_images_that_cannot_be_written(tmp_path, check):
    mini.write_classes(tmp_path, {"cat": 5, "dog": 5})
    (tmp_path / "cat" / "cat_001.jpg").write_bytes(b"no image")
    Path("unreadable_Folder.txt").mkdir()
    code, out = check("folder")
    assert code == 1 and line_with(out, "1 unreadable", "unreadable_Folder.txt", tmp_path / "cat" / "cat_001.jpg")


def test_a_corrupted_split_file(tmp_path, check):
    write_complete("EuroSAT", tmp_path)
    path = next(tmp_path.rglob("split_zhou_*"))
    path.write_text("{")
    code, out = check("eurosat")
    assert code == 1 and line_with(out, path, "JSON")


def copy_image(root, source, target):
    """Copies the image of one row of EuroSAT's split file to the file of another; rows are (part, index)."""
    split = json.loads(next(root.rglob("split_zhou_*")).read_text())
    files = [root / "eurosat" / "2750" / split[part][index][0] for part, index in (source, target)]
    shutil.copy(*files)
    return files


def test_files_of_equal_content_are_noted(tmp_path, check):
    write_complete("EuroSAT", tmp_path)
    assert "note" not in check("eurosat")[1]
    pair = copy_image(tmp_path, ("train", 0), ("test", 0))
    test_pair = copy_image(tmp_path, ("test", 1), ("test", 2))
    code, out = check("eurosat")
    assert code == 0  # published datasets have a few
    names = [
        " and ".join(str(path.relative_to(tmp_path / "eurosat" / "2750")) for path in files)
        for files in (pair, test_pair)
    ]
    assert line_with(out, "note", "1 image(s) of equal content", "in train and in test", names[0])
    assert line_with(out, "note", "1 image(s) of equal content", "more than once in test", names[1])
    assert "note" not in check("eurosat", options=["--no-images"])[1]


@pytest.mark.parametrize(
    "part, change, facts",
    [
        ("test", lambda split: split["train"][0], ["in train and in test"]),
        ("test", lambda split: split["val"][0], ["in val and in test"]),
        ("test", lambda split: split["test"][0], ["more than once in test"]),
        ("train", lambda split: [split["train"][0][0], *split["train"][-1][1:]], ["two labels"]),
    ],
)
def test_files_that_are_listed_twice(tmp_path, check, part, change, facts):
    write_complete("EuroSAT", tmp_path)
    path = next(tmp_path.rglob("split_zhou_*"))
    split = json.loads(path.read_text())
    row = change(split)
    split[part].append(row)
    path.write_text(json.dumps(split))
    code, out = check("eurosat", options=["--no-images"])
    assert code == 1 and line_with(out, "1 image(s)", row[0], *facts)


def test_a_split_file_with_other_labels_in_test(tmp_path, check):
    write_complete("EuroSAT", tmp_path)
    path = next(tmp_path.rglob("split_zhou_*"))
    split = json.loads(path.read_text())
    split["test"] = [[image, (label + 1) % 4, name] for image, label, name in split["test"]]
    path.write_text(json.dumps(split))
    code, out = check("eurosat")
    assert code == 1 and line_with(out, path, "label ", "two class names", "in test")

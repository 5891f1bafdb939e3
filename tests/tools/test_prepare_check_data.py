"""`prepare_data.py --check` on miniature trees: whole ones, and what people's data folders are really like."""

import json
import shutil
from pathlib import Path

import pytest
from PIL import Image

from datasets import catalogue
from tests.datasets import mini
from tests.datasets.mini_raw import BUILDERS
from tools import prepare_data
from tools.prepare import check_data


@pytest.fixture
def check(tmp_path, monkeypatch, capsys):
    """Runs `--check` on tmp_path; returns exit code and output. Counts are not compared unless given."""

    def check(*names, counts=(), options=()):
        for name in catalogue.entries():
            monkeypatch.setattr(check_data.DATASET_REGISTRY.get(name), "counts", counts)
        capsys.readouterr()
        code = prepare_data.main(["--check", *names, "--root", str(tmp_path), *options])
        return code, capsys.readouterr().out

    return check


def whole(name, root):
    """A miniature of a dataset with the split file that CoOp publishes, where there is one."""
    BUILDERS[name](root)
    mini.build(name, root)
    for path in Path(root).rglob("split_zhou_*.json"):
        parts = json.loads(path.read_text())
        path.write_text(json.dumps({part: parts[part] for part in ("train", "val", "test")}))


@pytest.mark.parametrize("name", BUILDERS)
def test_whole_datasets_are_good_and_left_alone(tmp_path, check, name):
    whole(name, tmp_path)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
    code, out = check(name)
    assert code == 0 and f"{name:<20} ok" in out
    assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before


@pytest.mark.parametrize("name", [name for name in BUILDERS if check_data.DATASET_REGISTRY.get(name).split_file])
def test_no_split_file_and_one_that_was_made(tmp_path, check, name):
    BUILDERS[name](tmp_path)
    code, out = check(name)
    assert code == 1 and "training would make a split of its own. Get it with `python tools/prepare_data.py" in out
    assert not list(tmp_path.rglob("split_zhou_*")), "the doctor writes nothing"
    mini.build(name, tmp_path)
    code, out = check(name)
    assert code == 1 and "is not CoOp's but was made here" in out


def test_nothing_there(tmp_path, check):
    code, out = check()
    lines = [line for line in out.splitlines() if not line.startswith(" ")]
    assert code == 1 and len(lines) == 15 and all("missing" in line for line in lines)
    assert not list(tmp_path.iterdir())


def test_some_there(tmp_path, check):
    whole("EuroSAT", tmp_path)
    assert check("eurosat")[0] == 0
    code, out = check("eurosat", "dtd")
    assert code == 1 and "EuroSAT              ok" in out and "DescribableTextures  missing" in out


def test_counts_are_compared(tmp_path, check):
    whole("EuroSAT", tmp_path)
    assert check("eurosat", counts=[3, 15, 6, 9])[0] == 0
    code, out = check("eurosat", counts=[10, 15, None, 8100])
    assert code == 1 and "it has 3 classes instead of 10, 9 test instead of 8,100" in out and "train instead" not in out


def test_layouts_are_of_datasets():
    layouts = check_data.load_layouts()
    assert layouts.keys() <= catalogue.entries().keys()
    assert all(layout and layout.keys() <= {"elsewhere", "wrong"} for layout in layouts.values())


def image_of(root, name):
    data = mini.build(name, root)
    return Path(data.test[0].impath)


def test_images_that_cannot_be_used(tmp_path, check, monkeypatch):
    whole("EuroSAT", tmp_path)
    path = image_of(tmp_path, "EuroSAT")
    Image.effect_noise((64, 64), 50).convert("RGB").save(path, "JPEG")
    assert check("eurosat")[0] == 0
    path.write_bytes(path.read_bytes()[:-200])
    code, out = check("eurosat")
    assert code == 1 and f"1 image(s) cannot be used, the first being {path} (image file is truncated" in out
    assert check("eurosat", options=["--no-images"])[0] == 0
    path.write_bytes(b"")
    assert "cannot identify image file" in check("eurosat")[1]
    Image.new("L", (50, 50)).save(path, "PNG")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 2000)
    assert "50 x 50 pixels" in check("eurosat")[1]
    path.unlink()
    code, out = check("eurosat")
    assert code == 1 and "names 1 image(s) that are not there" in out


@pytest.mark.parametrize(
    "name, found",
    [(name, found) for name, layout in check_data.load_layouts().items() for found in layout.get("elsewhere", [])],
)
def test_images_elsewhere_are_found(tmp_path, check, name, found):
    whole(name, tmp_path / "whole")
    expected = Path(check_data.DATASET_REGISTRY.get(name).at_root(tmp_path).image_dir)
    source = Path(check_data.DATASET_REGISTRY.get(name).at_root(tmp_path / "whole").image_dir)
    (tmp_path / found).parent.mkdir(parents=True, exist_ok=True)
    shutil.move(source, tmp_path / found)
    code, out = check(name)
    remedy = f"mkdir -p '{expected.parent}' && mv '{tmp_path / found}' '{expected}'"
    assert code == 1 and f"the images lie in {tmp_path / found}: {remedy}" in out


@pytest.mark.parametrize(
    "name, path, remedy",
    [
        ("StanfordCars", "cars_train/cars_train/00001.jpg", "move the inner cars_train up"),
        ("StanfordCars", "cars_test/cars_test/00001.jpg", "move the inner cars_test up"),
        ("StanfordCars", "car_data/car_data/train/Audi 100 Wagon 1994/00001.jpg", "copy by class folders"),
        ("StanfordCars", "train/Audi 100 Wagon 1994/00001.jpg", "copy by class folders"),
        ("StanfordCars", "car_ims/000001.jpg", "all images in one numbering"),
        ("StanfordCars", "data/train-00000.parquet", "copy without file names"),
        ("OxfordFlowers", "train/1/image_0001.jpg", "copy by class folders"),
        ("SUN397", "a/abbey/sun_1.jpg", "one level too high"),
        ("EuroSAT", "2750/Forest/Forest_1.tif", "13 bands"),
        ("UCF101", "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi", "these are the videos"),
        ("ImageNet", "train/n01440764/1.JPEG", "one level too high"),
        ("ImageNet", "images/val/ILSVRC2012_val_00000001.JPEG", "has no class folders"),
        ("Caltech101", "101_ObjectCategories.tar.gz", "is not unpacked"),
        ("DescribableTextures", "dtd-r1.0.1.tar.gz", "is not unpacked"),
    ],
)
def test_wrong_layouts_are_named(tmp_path, check, name, path, remedy):
    path = Path(check_data.DATASET_REGISTRY.get(name).at_root(tmp_path).dataset_dir) / path
    path.parent.mkdir(parents=True)
    path.touch()
    code, out = check(name)
    assert code == 1 and remedy in out


def test_own_images(tmp_path, check):
    mini.write_classes(tmp_path, {"cat": 5, "dog": 5})
    code, out = check("folder")
    assert code == 0 and "Folder               ok       2 classes, 4 train, 2 val, 4 test" in out
    (tmp_path / "cat" / "cat_001.jpg").write_bytes(b"no image")
    assert check("folder")[0] == 1


def test_a_broken_split_file(tmp_path, check):
    whole("EuroSAT", tmp_path)
    next(tmp_path.rglob("split_zhou_*")).write_text("{")
    code, out = check("eurosat")
    assert code == 1 and "split_zhou_EuroSAT.json is not valid JSON" in out

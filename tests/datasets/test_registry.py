"""Tests every registered dataset on a miniature of its raw layout. A new dataset needs a builder in `mini_raw`."""

import json
import pickle
import random
import shutil
from pathlib import Path

import pytest
import yaml

from dassl.data.datasets import DATASET_REGISTRY
from datasets import catalogue
from tests.datasets import mini
from tests.datasets.mini_raw import BUILDERS
from tests.user_errors import assert_facts, raises_user_error

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = sorted((ROOT / "configs" / "datasets").glob("*.yaml"))
TEST_ONLY = {name for name in BUILDERS if DATASET_REGISTRY.get(name).variant_of == "ImageNet"}
TEST_ONLY |= {"MiniImageNet", "MiniImageNetVal"}


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """Data folder and expected classes and test images of each dataset, built once."""
    built = {}
    for name, build in BUILDERS.items():
        root = tmp_path_factory.mktemp(name)
        built[name] = root, *build(root)
    return built


def test_every_dataset_is_tested_and_has_a_config():
    bundled = {entry.name for entry in catalogue.entries().values() if entry.bundled}  # test_digits, test_bundled
    assert set(BUILDERS) | bundled | {"Folder"} == set(catalogue.entries())
    assert {path.stem for path in CONFIGS} == set(catalogue.by_config()) | {"captions"}  # tests/trainers/test_pairs.py


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_configs_have_a_comment_and_the_name_of_their_dataset(path):
    assert path.read_text().startswith("# ")
    config = yaml.safe_load(path.read_text())
    assert config == {"DATASET": {"NAME": config["DATASET"]["NAME"]}, **mini.PREPROCESSING.get(path.stem, {})}
    assert DATASET_REGISTRY.get(config["DATASET"]["NAME"]).__module__ == f"datasets.{path.stem}"


@pytest.mark.parametrize("name", BUILDERS)
def test_raw_layout(roots, name, tmp_path):
    original, classnames, n_test = roots[name]
    root = tmp_path / "data"
    shutil.copytree(original, root)
    random.seed(3)
    before = random.getstate()
    data = mini.build(name, root)
    assert random.getstate() == before
    assert data.classnames == classnames and data.num_classes == len(classnames)
    assert all(Path(d.impath).is_file() for d in data.train_x + (data.val or []) + data.test)
    assert all(d.classname == classnames[d.label] for d in data.train_x + (data.val or []) + data.test)
    if n_test is not None:
        assert len(data.test) == n_test
    paths = [{d.impath for d in split or []} for split in (data.train_x, data.val, data.test)]
    if name in TEST_ONLY:
        assert paths[0] <= paths[2] and data.val is None
        return
    assert sum(map(len, paths)) == len(set().union(*paths))
    assert all(paths) or name == "ImageNet" and data.val is None
    # A second run reads the split file of the first. Then few-shot sampling and base classes.
    again = mini.build(name, root)
    assert mini.fingerprint(again) == mini.fingerprint(data)
    subset, n_classes = ("base", (len(classnames) + 1) // 2) if len(classnames) > 3 else ("all", len(classnames))
    few = mini.build(name, root, shots=2, seed=0, subsample=subset)
    assert len(few.train_x) == 2 * few.num_classes == 2 * n_classes
    files = {path.name for path in root.rglob("split_*") if path.is_file()}
    assert len(files) == bool(DATASET_REGISTRY.get(name).split_file)


@pytest.mark.parametrize("name", [name for name in BUILDERS if DATASET_REGISTRY.get(name).split_file])
def test_a_published_split_is_used(roots, name, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(roots[name][0], root)
    mini.build(name, root)
    path = next(root.rglob(DATASET_REGISTRY.get(name).split_file))
    parts = json.loads(path.read_text())
    path.write_text(json.dumps({key: parts[key][::-1] for key in ("train", "val", "test")}))
    data = mini.build(name, root)
    assert [d.label for d in data.test] == [row[1] for row in parts["test"]][::-1]


@pytest.mark.parametrize("name", BUILDERS)
def test_incomplete_data_give_a_one_line_error(roots, name, tmp_path):
    """If a file other than an image is missing or corrupted, the error is one line with the dataset or the file."""
    original = roots[name][0]
    files = [path for path in original.rglob("*") if path.is_file() and path.suffix not in (".jpg", ".png")]
    files = [path for path in files if path.name != "README.txt"]
    for number, path in enumerate(files):
        for content in (None, "{ garbage \n x"):
            root = tmp_path / f"{number}{content is None}"
            shutil.copytree(original, root)
            broken = root / path.relative_to(original)
            broken.unlink() if content is None else broken.write_text(content)
            with raises_user_error(error=(FileNotFoundError, ValueError)) as error:
                mini.build(name, root)
            assert name in str(error.value) or path.name in str(error.value)


def test_imagenets_variants_are_never_sampled(roots, capsys):
    root = roots["ImageNetR"][0]
    assert len(mini.build("ImageNetR", root, shots=1).train_x) == 8
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("ImageNetR")]
    assert_facts(line, "testing only")


def test_imagenet_takes_coops_order(roots, tmp_path):
    """CoOp pickles its list of images in the order of the file system and samples from this list."""
    root = tmp_path / "data"
    shutil.copytree(roots["ImageNet"][0], root)
    data = mini.build("ImageNet", root)
    train = list(reversed(data.train_x))
    with open(root / "imagenet" / "preprocessed.pkl", "wb") as file:
        pickle.dump({"train": train, "test": data.test}, file, protocol=pickle.HIGHEST_PROTOCOL)
    random.seed(5)
    expected = []
    for label in dict.fromkeys(d.label for d in train):
        expected += random.sample([d.impath for d in train if d.label == label], 3)
    assert [d.impath for d in mini.build("ImageNet", root, shots=3, seed=5).train_x] == expected


def test_imagenet_with_a_missing_folder_in_val(roots, tmp_path, capsys):
    root = tmp_path / "data"
    shutil.copytree(roots["ImageNet"][0], root)
    shutil.rmtree(root / "imagenet" / "images" / "val" / "n01443537")
    data = mini.build("ImageNet", root)
    assert {(d.label, d.classname) for d in data.test} == {(0, "tench"), (2, "great white shark"), (3, "tiger shark")}
    assert data.classnames == ["tench", "goldfish", "great white shark", "tiger shark"]
    assert_facts(*[line for line in capsys.readouterr().out.splitlines() if line.startswith("WARNING")], "'goldfish'")
    shutil.rmtree(root / "imagenet" / "images" / "train" / "n01484850")
    with raises_user_error("ImageNet", "'great white shark'", "test", "no train", error=ValueError):
        mini.build("ImageNet", root)


def test_coops_image_list_with_shifted_labels(roots, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(roots["ImageNet"][0], root)
    data = mini.build("ImageNet", root)
    for item in data.test:
        item._label = item.label - 1 if item.label > 1 else item.label  # as if the folder of class 1 was missing
    (root / "imagenet" / "preprocessed.pkl").write_bytes(pickle.dumps({"train": data.train_x, "test": data.test}))
    with raises_user_error("ImageNet", "label 1", "'goldfish'", "'great white shark'", error=ValueError):
        mini.build("ImageNet", root)


def test_imagenetv2_is_numbered_by_sorted_folders(roots, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(roots["ImageNetV2"][0], root)
    path = root / "imagenetv2" / "classnames.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[::-1]))
    assert mini.build("ImageNetV2", root).classnames == ["tench", "goldfish", "great white shark", "tiger shark"]
    path.write_text("\n".join(lines[:3]))
    with raises_user_error("ImageNetV2", "folder 3", "classnames.txt", error=ValueError):
        mini.build("ImageNetV2", root)
    path.write_text("\n".join([*lines, lines[0]]))
    with raises_user_error("ImageNetV2", "classnames.txt", "duplicates", error=ValueError):
        mini.build("ImageNetV2", root)


def test_imagenet_folder_without_a_name(roots, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(roots["ImageNet"][0], root)
    mini.write_classes(root / "imagenet" / "images" / "train", {"n99999999": 2})
    with raises_user_error("n99999999", "classnames.txt", error=ValueError):
        mini.build("ImageNet", root)


def test_class_folder_without_images(roots, tmp_path):
    root = tmp_path / "data"
    shutil.copytree(roots["Food101"][0], root)
    (root / "food-101" / "images" / "waffles").mkdir()
    with raises_user_error(root / "food-101" / "images" / "waffles", "no images", error=ValueError):
        mini.build("Food101", root)

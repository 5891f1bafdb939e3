"""Compares the catalogue with the published facts; adds a new dataset."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

import datasets
from dassl.data.datasets import DATASET_REGISTRY
from datasets import catalogue
from tests.datasets import mini
from tests.user_errors import assert_facts, raises_user_error
from tools import prepare_data
from trainers.common.prompts import dataset_template

ROOT = Path(__file__).resolve().parents[2]
# The paper's Table 8: prompt template; classes, train, val and test images (the paper rounds ImageNet's to 1.28M).
TABLE_8 = {
    "ImageNet": ("a photo of a {}.", (1000, 1281167, 0, 50000)),
    "Caltech101": ("a photo of a {}.", (100, 4128, 1649, 2465)),
    "OxfordPets": ("a photo of a {}, a type of pet.", (37, 2944, 736, 3669)),
    "StanfordCars": ("a photo of a {}.", (196, 6509, 1635, 8041)),
    "OxfordFlowers": ("a photo of a {}, a type of flower.", (102, 4093, 1633, 2463)),
    "Food101": ("a photo of {}, a type of food.", (101, 50500, 20200, 30300)),
    "FGVCAircraft": ("a photo of a {}, a type of aircraft.", (100, 3334, 3333, 3333)),
    "SUN397": ("a photo of a {}.", (397, 15880, 3970, 19850)),
    "DescribableTextures": ("{} texture.", (47, 2820, 1128, 1692)),  # not the prompt of the official code
    "EuroSAT": ("a centered satellite photo of {}.", (10, 13500, 5400, 8100)),
    "UCF101": ("a photo of a person doing {}.", (101, 7639, 1898, 3783)),
    "ImageNetV2": ("a photo of a {}.", (1000, None, None, 10000)),
    "ImageNetSketch": ("a photo of a {}.", (1000, None, None, 50889)),
}
OTHERS = {  # not in the paper
    "ImageNetA": ("a photo of a {}.", (200, None, None, 7500)),
    "ImageNetR": ("a photo of a {}.", (200, None, None, 30000)),
    "ImageNetC": ("a photo of a {}.", (1000, None, None, 3750000)),
    "ImageNetO": ("a photo of a {}.", (200, None, None, 12000)),
    "ImageNetV2Threshold": ("a photo of a {}.", (1000, None, None, 10000)),
    "ImageNetV2TopImages": ("a photo of a {}.", (1000, None, None, 10000)),
    "ObjectNet": ("a photo of a {}.", (113, None, None, 18574)),
    "Digits": ("a photo of the number {}.", (10, 898, 359, 540)),
    "Folder": ("a photo of a {}.", ()),
    "FMoWWilds": ("satellite photo of a {}.", (62, 76863, 19915, 22108)),
    "FMoWWildsID": ("satellite photo of a {}.", (62, 76863, 19915, 11327)),
    "MiniImageNet": ("a photo of a {}.", (20, None, None, 12000)),
    "MiniImageNetVal": ("a photo of a {}.", (16, None, None, 9600)),
    "MiniImageNetTrain": ("a photo of a {}.", (64, 19200, 7680, 11520)),
    "Camelyon17Wilds": ("a histopathology slide showing {}.", (2, 302436, 34904, 85054)),
    "IWildCamWilds": ("a photo of {}.", (182, 129809, 14961, 42791)),
    "IWildCamWildsID": ("a photo of {}.", (182, 129809, 14961, 8154)),
    "CapitalLetters": ("a photo of the capital letter {}.", (24, 1200, 480, 720)),
    "Symbols": ("a photo of a {}.", (7, 350, 140, 210)),
    "DigitsRotated": ("a photo of the number {}.", (10, None, None, 540)),
    "DigitsNoisy": ("a photo of the number {}.", (10, None, None, 540)),
}
TEN = "caltech101 oxford_pets stanford_cars oxford_flowers food101 fgvc_aircraft sun397 dtd eurosat ucf101".split()
VARIANTS = ["imagenetv2", "imagenet_sketch", "imagenet_a", "imagenet_r"]
DOCS = (ROOT / "docs" / "datasets.md").read_text()


@pytest.mark.parametrize("entry", catalogue.entries().values(), ids=lambda entry: entry.name)
def test_every_dataset(entry):
    config = ROOT / "configs" / "datasets" / f"{entry.config}.yaml"
    assert yaml.safe_load(config.read_text())["DATASET"]["NAME"] == entry.name
    assert entry.template.count("{}") == 1
    assert len(entry.counts) in (0, 4)
    assert entry.variant_of in ("", *catalogue.entries())


def test_facts_are_the_published_ones():
    facts = {entry.name: (entry.template, entry.counts) for entry in catalogue.entries().values()}
    assert {name: facts[name] for name in TABLE_8 | OTHERS} == TABLE_8 | OTHERS


def test_order_is_the_papers():
    names = list(catalogue.entries())
    assert names[:15] == [*list(TABLE_8)[:11], "ImageNetV2", "ImageNetSketch", "ImageNetA", "ImageNetR"]
    wilds = ["FMoWWilds", "FMoWWildsID", "Folder", "IWildCamWilds", "IWildCamWildsID"]
    mini_imagenet = ["MiniImageNet", "MiniImageNetTrain", "MiniImageNetVal"]
    digits = ["Digits", "DigitsRotated", "DigitsNoisy"]
    shifts = ["ImageNetC", "ImageNetO", "ImageNetV2Threshold", "ImageNetV2TopImages", "ObjectNet"]
    assert names[15:] == [*shifts, "Camelyon17Wilds", "CapitalLetters", *digits, *wilds, *mini_imagenet, "Symbols"]
    assert sorted(["of tomorrow", *reversed(names)], key=catalogue.order) == [*names, "of tomorrow"]
    orders = [entry.paper_order for entry in catalogue.entries().values()]
    assert orders == [*range(1, 12), *[None] * (len(names) - 11)]


def test_config_names():
    assert list(catalogue.by_config().values()) == list(catalogue.entries().values()), "one dataset per module"
    assert catalogue.paper_configs() == ["imagenet", *TEN]


def test_targets():
    assert catalogue.targets("cross_dataset") == TEN
    assert catalogue.targets("cross_dataset", "Caltech101") == TEN[1:]
    assert catalogue.targets("domain_shift") == catalogue.targets("domain_shift", "ImageNet") == VARIANTS
    assert catalogue.targets("domain_shift", "dtd") == []
    assert catalogue.targets("cross_dataset", "folder") == TEN
    assert catalogue.targets("cross_dataset", "digits") == ["capital_letters", "symbols"]
    assert catalogue.targets("cross_dataset", "symbols") == ["capital_letters", "digits"]
    assert catalogue.targets("domain_shift", "digits") == ["digits_rotated", "digits_noisy"]
    with raises_user_error("'base2new'", "cross_dataset", "domain_shift", error=ValueError):
        catalogue.targets("base2new")
    with raises_user_error("'imagenetv3'", "imagenetv2", error=ValueError):
        catalogue.targets("domain_shift", "imagenetv3")


@pytest.mark.parametrize("text", ["dtd", "DTD", "DescribableTextures", "describabletextures"])
def test_resolve(text):
    assert catalogue.resolve(text).name == "DescribableTextures"


@pytest.mark.parametrize("text, closest", [("imagenet-r", "imagenet_r"), ("EuroSat2", "eurosat"), ("textures", "dtd")])
def test_an_unknown_name_lists_the_closest_match_and_all_names(text, closest):
    with raises_user_error(repr(text), f" {closest}? ", *catalogue.by_config(), error=ValueError):
        catalogue.resolve(text)


def test_the_table_of_the_docs():
    """Rows are `config`, registry name, `folder`, counts. Datasets that CoOp does not have are optional."""
    table = DOCS.partition("\n## All datasets\n")[2]
    lines = [line for line in table.splitlines() if line.startswith("| `")]
    rows = [[cell.strip(" `") for cell in line.split("|")[1:-1]] for line in lines]
    for config, name, folder, *counts in rows:
        entry = catalogue.by_config()[config]
        assert entry.name == name
        assert counts == [f"{count:,}" if count is not None else "" for count in entry.counts or [None] * 4], name
        cls = DATASET_REGISTRY.get(name)
        assert folder.startswith("/".join(filter(None, (cls.dataset_dir, cls.image_dir)))), name
    listed = [row[0] for row in rows]
    assert len(set(listed)) == len(listed)
    assert {e.config for e in catalogue.entries().values() if e.paper_order or e.variant_of or e.bundled} <= set(listed)


def test_the_catalogue_needs_no_torch():
    code = "import runtime, sys; from datasets import catalogue; catalogue.entries(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


@pytest.fixture
def toy(tmp_path, monkeypatch):
    """Adds the docs' example of a new dataset to the package `datasets`; returns its registry name."""
    package = tmp_path / "modules"
    package.mkdir()
    (package / "shapes.py").write_text(DOCS.partition("```python\n")[2].partition("```")[0])
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(package)])
    monkeypatch.setattr(DATASET_REGISTRY, "_obj_map", dict(DATASET_REGISTRY._obj_map))
    datasets.register_all()
    yield "ToyShapes"
    del sys.modules["datasets.shapes"], datasets.shapes


def test_a_new_dataset_is_one_module(toy):
    entry = catalogue.resolve("SHAPES")
    assert entry == (toy, "shapes", "a drawing of a {}.", (2, 10, 4, 6), None, "", False)
    assert catalogue.resolve(toy) == catalogue.by_config()["shapes"] == entry
    assert list(catalogue.entries())[-2:] == ["Symbols", toy]
    assert catalogue.targets("cross_dataset") == TEN
    assert dataset_template(toy) == "a drawing of a {}."
    config = DOCS.partition("```yaml\n")[2].partition("```")[0]
    assert yaml.safe_load(config) == {"DATASET": {"NAME": toy}}


def test_a_new_dataset_is_checked(toy, tmp_path, capsys):
    root = tmp_path / "data"
    mini.write_classes(root / "shapes" / "images", {"circle": 10, "square": 10})
    assert len(mini.build(toy, root, shots=1).train_x) == 2
    assert prepare_data.main(["--check", "shapes", "--root", str(root)]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.split() == "ToyShapes ok 2 classes, 10 train, 4 val, 6 test".split()
    for path in (root / "shapes" / "images" / "circle").glob("*_00[5-9].jpg"):
        path.unlink()
    assert prepare_data.main(["--check", "--root", str(root)]) == 1
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "instead of 10" in line]
    assert_facts(line, "7 train", "10")
    assert prepare_data.main(["shapes", "--root", str(root)]) == 1
    assert_facts(capsys.readouterr().err, "error: ", "ToyShapes", "tools/prepare/sources.yaml")


def test_a_dataset_of_dassl_is_skipped(monkeypatch):
    """Upstream Dassl registers its own datasets, which do not have the attributes of `FewShotDataset`."""
    monkeypatch.setitem(DATASET_REGISTRY._obj_map, "Office31", type("Office31", (), {}))
    assert "Office31" not in catalogue.entries()

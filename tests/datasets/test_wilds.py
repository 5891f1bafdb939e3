"""The datasets of WILDS on miniatures of their folders: splits, options, metrics; compared with the package `wilds`."""

import csv
import importlib.util
import json
import random
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

import train
from dassl.config import get_cfg_default
from dassl.data.datasets import DATASET_REGISTRY
from datasets.wilds_fmow import split_of, utc_year
from tests.datasets import mini
from tests.datasets.mini_raw import BUILDERS
from tests.user_errors import assert_facts, raises_user_error
from tools.reporting.run import read_record
from tools.reporting.tables import metric_notes
from tools.sweeping.choosing import result_on_val
from trainers.common import prompt_ensemble

needs_wilds = pytest.mark.skipif(not importlib.util.find_spec("wilds"), reason="the package wilds is not installed")


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    built = {name: tmp_path_factory.mktemp(name) for name in ("FMoWWilds", "Camelyon17Wilds", "IWildCamWilds")}
    for name, root in built.items():
        BUILDERS[name](root)
    return built


def build(roots, name, **options):
    """Builds a dataset; `options` are those of `DATASET.WILDS` and of `mini.make_cfg`."""
    wilds = {key: options.pop(key) for key in ("VAL", "NAMES") if key in options}
    cfg = mini.make_cfg(name, roots[name.removesuffix("ID")], **options)
    for key, value in wilds.items():
        cfg.DATASET.WILDS[key] = value
    return DATASET_REGISTRY.get(name)(cfg)


def names_of(items):
    return [item.impath.rpartition("/")[2] for item in items]


def fmow_rows(root):
    with open(root / "fmow_v1.1" / "rgb_metadata.csv") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    "name, val, years",
    [
        ("FMoWWilds", "ood", {"train": (2002, 2012), "val": (2013, 2015), "test": (2016, 2017)}),
        ("FMoWWildsID", "id", {"train": (2002, 2012), "val": (2002, 2012), "test": (2002, 2012)}),
    ],
)
def test_the_splits_of_fmow(roots, name, val, years):
    data = build(roots, name, VAL=val)
    rows = fmow_rows(roots["FMoWWilds"])
    for split, items in (("train", data.train_x), ("val", data.val), ("test", data.test)):
        expected = [
            (f"rgb_img_{number}.png", row["category"])
            for number, row in enumerate(rows)
            if row["split"] == split and years[split][0] <= int(row["timestamp"][:4]) <= years[split][1]
        ]
        assert list(zip(names_of(items), [item.classname for item in items], strict=True)) == expected
    assert rows[0]["split"] == "seq" and names_of(data.train_x)[0] == "rgb_img_1.png"


def test_years_are_those_of_utc():
    assert utc_year("2015-12-31T23:59:59Z") == 2015
    assert utc_year("2015-12-31T23:59:59-01:00") == 2016
    assert utc_year("2016-01-01 00:30:00") == 2016
    assert [split_of(*args) for args in (("val", 2016), ("test", 2015), ("train", 2013), ("seq", 2010))] == [""] * 4


def test_the_regions_of_fmow(roots):
    data = build(roots, "FMoWWilds")
    rows = fmow_rows(roots["FMoWWilds"])
    region = {"KEN": "Africa", "FRA": "Europe", "BRA": "Americas"}
    for item in data.train_x + data.val + data.test:
        country = rows[int(item.impath.rpartition("_")[2][:-4])]["country_code"]
        assert data.domains[item.domain] == region.get(country, "Other")


def test_a_country_with_an_empty_region(tmp_path):
    BUILDERS["FMoWWilds"](tmp_path)
    path = tmp_path / "fmow_v1.1" / "country_code_mapping.csv"
    path.write_text(path.read_text().replace("Europe", ""))
    data = mini.build("FMoWWilds", tmp_path)
    assert {data.domains[item.domain] for item in data.test} == {"Africa", "Americas", "Other"}


def test_the_hospitals_of_camelyon17(roots):
    data = build(roots, "Camelyon17Wilds")
    parts = (data.train_x, data.val, data.test)
    hospitals = [Counter(name.split("_")[2] for name in names_of(items)) for items in parts]
    assert hospitals == [{"000": 9, "003": 9, "004": 9}, {"001": 12}, {"002": 12}]
    data = build(roots, "Camelyon17Wilds", VAL="id", NAMES="dassl")
    assert Counter(name.split("_")[2] for name in names_of(data.val)) == {"000": 3, "003": 3, "004": 3}
    assert data.classnames == ["healthy tissue", "tumor tissue"]
    assert {item.label for item in data.test if "_x_3_y_21.png" in item.impath} == {1}


def test_the_names_of_iwildcam(roots):
    data = build(roots, "IWildCamWilds")
    assert len(data.classnames) == 182 and len(set(data.classnames)) == 178
    assert data.classnames[3] == data.classnames[148] == "lowland paca"
    assert build(roots, "IWildCamWilds", NAMES="dassl").classnames[3] == "cuniculus paca"
    assert set(names_of(build(roots, "IWildCamWildsID").test)) == {f"id_test-{label}-0.jpg" for label in range(20)}


def test_few_shots_with_other_validation_images(roots):
    few = {val: build(roots, "FMoWWilds", shots=1, seed=1, VAL=val) for val in ("ood", "id")}
    assert names_of(few["ood"].train_x) == names_of(few["id"].train_x)
    assert not set(names_of(few["ood"].val)) & set(names_of(few["id"].val))
    assert names_of(build(roots, "FMoWWilds", shots=1, seed=1).val) == names_of(few["ood"].val)


@pytest.mark.parametrize("name, count", [("FMoWWilds", 14), ("Camelyon17Wilds", 2), ("IWildCamWilds", 2)])
def test_the_prompt_is_the_first_of_the_ensemble(name, count):
    cls = DATASET_REGISTRY.get(name)
    cfg = get_cfg_default()
    cfg.DATASET.TEMPLATES = f"configs/templates/{cls.__module__.partition('.')[2]}.txt"
    prompt_ensemble.complete_cfg(cfg)
    assert cfg.DATASET.TEMPLATES[0] == cls.template and len(cfg.DATASET.TEMPLATES) == count


def test_wrong_options(roots):
    with raises_user_error("DATASET.WILDS.VAL", "ood", "'in'", error=ValueError):
        build(roots, "FMoWWilds", VAL="in")
    with raises_user_error("DATASET.WILDS.NAMES", "dassl", "'latin'", error=ValueError):
        build(roots, "IWildCamWilds", NAMES="latin")


def test_a_short_row(roots, tmp_path):
    BUILDERS["Camelyon17Wilds"](tmp_path)
    path = tmp_path / "camelyon17_v1.0" / "metadata.csv"
    path.write_text(path.read_text() + "9,001\n")
    with raises_user_error("metadata.csv", "line 62", error=ValueError):
        mini.build("Camelyon17Wilds", tmp_path)


def random_predictions(items, n_classes, share=0.6):
    rng = random.Random(0)
    return [item.label if rng.random() < share else rng.randrange(n_classes) for item in items]


def test_the_worst_region(roots):
    data = build(roots, "FMoWWilds")
    correct = [label == item.label for label, item in zip(random_predictions(data.test, 62), data.test, strict=True)]
    expected = {}
    for name in ("Africa", "Americas", "Europe", "Other"):
        hits = [hit for hit, item in zip(correct, data.test, strict=True) if data.domains[item.domain] == name]
        expected[f"accuracy_{name.lower()}"] = 100 * sum(hits) / len(hits)
    worst = min(expected[f"accuracy_{name}"] for name in ("africa", "americas", "europe"))
    assert data.more_metrics(data.test, SimpleNamespace(correct=correct)) == pytest.approx(
        {**expected, "worst_region_accuracy": worst}
    )
    others = [item for item in data.test if data.domains[item.domain] == "Other"]
    never = data.more_metrics(data.test, SimpleNamespace(correct=[item not in others for item in data.test]))
    assert never["accuracy_other"] == 0 and never["worst_region_accuracy"] == 100
    with raises_user_error("country_code_mapping.csv", error=ValueError):
        data.more_metrics(others, SimpleNamespace(correct=[True] * len(others)))


def zero_shot(roots, name, output, *opts):
    argv = ["--root", str(roots[name]), "--trainer", "ZeroshotCLIP", "--backbone", "micro", "--seed", "1"]
    argv += ["--dataset-config-file", f"configs/datasets/wilds_{name[:-5].lower()}.yaml", "--output-dir", str(output)]
    argv += ["--eval-only"]
    return train.main([*argv, "USE_CUDA", "False", "DATALOADER.NUM_WORKERS", "0", "INPUT.SIZE", "(32,32)", *opts])


METRICS = {"FMoWWilds": "worst_region_accuracy", "IWildCamWilds": "macro_f1", "Camelyon17Wilds": "accuracy"}


@pytest.mark.parametrize("name, metric", METRICS.items())
def test_a_run_is_compared_by_the_metric_of_its_dataset(roots, tmp_path, capsys, name, metric):
    assert zero_shot(roots, name, tmp_path / "run") == 0
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    result = record["metrics"]["test"]
    assert record["metric"] == metric and f"* {metric}: {result[metric]:.2f}%" in capsys.readouterr().out
    run = read_record(tmp_path / "run" / "result.json")
    assert run.score == result[metric] and run.accuracy == result["accuracy"]
    notes = metric_notes([SimpleNamespace(dataset=name, run=run)])
    assert len(notes) == (metric != "accuracy")
    for note in notes:
        assert_facts(note, name, metric.replace("_", " "))


def test_images_in_another_order(roots, tmp_path, capsys):
    assert zero_shot(roots, "FMoWWilds", tmp_path / "run", "DATALOADER.TEST.SAMPLER", "RandomSampler") == 1
    error = capsys.readouterr().err.splitlines()[-1]
    assert_facts(error, "error: ", "worst_region_accuracy", "DATALOADER.TEST.SAMPLER", "SequentialSampler")


def package(name, roots):
    """Returns the dataset of the package `wilds` on a miniature, and the subset `test`."""
    folder = {"FMoWWilds": "fmow_v1.1", "Camelyon17Wilds": "camelyon17_v1.0", "IWildCamWilds": "iwildcam_v2.0"}[name]
    (roots[name] / folder / f"RELEASE_{folder.partition('_')[2]}.txt").touch()  # else it downloads the data
    import wilds

    data = wilds.get_dataset(dataset=folder.partition("_")[0], root_dir=str(roots[name]), download=False)
    return data, data.get_subset("test")


@needs_wilds
@pytest.mark.parametrize("name", ["FMoWWilds", "Camelyon17Wilds", "IWildCamWilds"])
def test_the_package_has_the_same_labels_and_splits(roots, name):
    theirs, _ = package(name, roots)
    ours = build(roots, name)
    for split, items in (("train", ours.train_x), ("val", ours.val), ("test", ours.test)):
        subset = theirs.get_subset(split)
        assert [item.label for item in items] == subset.y_array.tolist()
        for item, index in zip(items, subset.indices, strict=True):
            if name == "FMoWWilds":
                assert item.impath.endswith(f"/rgb_img_{theirs.full_idxs[index]}.png")
            else:
                assert item.impath.endswith(str(theirs._input_array[index]))


@needs_wilds
@pytest.mark.parametrize("name", ["FMoWWilds", "Camelyon17Wilds", "IWildCamWilds"])
def test_the_package_agrees_on_random_predictions(roots, name):
    from dassl.evaluation import Classification

    if name != "IWildCamWilds":
        pytest.importorskip("torch_scatter", reason="the evaluation of wilds on this dataset needs torch_scatter")
    theirs, subset = package(name, roots)
    ours = build(roots, name)
    predicted = torch.tensor(random_predictions(ours.test, ours.num_classes))
    results, _ = theirs.eval(predicted, subset.y_array, subset.metadata_array)
    evaluator = Classification(mini.make_cfg(name, roots[name]))
    evaluator.process(torch.nn.functional.one_hot(predicted, ours.num_classes).float(), subset.y_array)
    own = evaluator.evaluate()
    assert own["accuracy"] == pytest.approx(100 * results["acc_avg"], rel=1e-5)
    if name == "IWildCamWilds":
        assert own["macro_f1"] == pytest.approx(100 * results["F1-macro_all"], rel=1e-5)
    if name == "FMoWWilds":
        own = ours.more_metrics(ours.test, (predicted == subset.y_array).tolist())
        assert own["worst_region_accuracy"] == pytest.approx(100 * results["acc_worst_region"], rel=1e-5)


@pytest.mark.parametrize("name, metric", METRICS.items())
def test_choices_on_validation_images_use_the_metric(roots, tmp_path, name, metric):
    assert zero_shot(roots, name, tmp_path / "run", "TEST.SPLIT", "val") == 0
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result_on_val(SimpleNamespace(output=tmp_path / "run")) == record["metrics"]["val"][metric]

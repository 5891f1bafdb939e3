"""ImageNet-C, ImageNet-O and ObjectNet on miniatures of their folders: options, borders, metrics, wrong data."""

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

import train
from dassl.data.data_manager import build_data_loader
from dassl.data.datasets import DATASET_REGISTRY, Datum
from dassl.utils import read_image
from datasets.imagenet_c import CORRUPTIONS
from tests.datasets import mini, mini_raw
from tests.runtime import toy
from tests.user_errors import raises_user_error
from trainers.common import load_tuned
from trainers.common.compat import read_rgb


@pytest.fixture(scope="module")
def imagenet_c(tmp_path_factory):
    """A data folder with all fifteen corruptions and an extra one."""
    root = tmp_path_factory.mktemp("imagenet_c")
    mini_raw.imagenet_c(root)
    mini_raw.imagenet_c(root, ["saturate"])
    return root


def build_c(root, corruption="all", severity=0):
    cfg = mini.make_cfg("ImageNetC", root)
    cfg.DATASET.IMAGENET_C.CORRUPTION, cfg.DATASET.IMAGENET_C.SEVERITY = corruption, severity
    return DATASET_REGISTRY.get("ImageNetC")(cfg)


@pytest.mark.parametrize(
    "corruption, severity, expected",
    [
        ("all", 0, [f"{name}/{severity}" for name in CORRUPTIONS for severity in range(1, 6)]),
        ("all", 3, [f"{name}/3" for name in CORRUPTIONS]),
        ("saturate", 0, [f"saturate/{severity}" for severity in range(1, 6)]),
        ("snow", 5, ["snow/5"]),
    ],
)
def test_corruptions_and_severities(imagenet_c, corruption, severity, expected):
    data = build_c(imagenet_c, corruption, severity)
    root = imagenet_c / "imagenet-c"
    found = ["/".join(item.impath.removeprefix(f"{root}/").split("/")[:2]) for item in data.test]
    assert data.domains == expected and found == [name for name in expected for _ in range(2)]
    assert [data.domains[item.domain] for item in data.test] == found
    assert [item.label for item in data.test] == [0, 1] * len(expected)


def test_corruption_errors_are_those_of_the_paper(imagenet_c):
    """CE is the sum of the errors over the severities, divided by that of AlexNet; mCE is the mean over corruptions."""
    data = build_c(imagenet_c)
    correct = (np.random.default_rng(0).random(len(data.test)) < 0.6).tolist()
    results = data.more_metrics(data.test, SimpleNamespace(correct=correct))
    errors = 1 - np.array(correct).reshape(15, 5, 2).mean(-1)  # corruption, severity
    for name, error in zip(CORRUPTIONS, errors, strict=True):
        assert results[f"accuracy_{name}"] == pytest.approx(100 * (1 - error.mean()))
    ratios = [error.sum() / (5 * alexnet) for error, alexnet in zip(errors, CORRUPTIONS.values(), strict=True)]
    assert results["mce"] == pytest.approx(100 * np.mean(ratios))
    part = build_c(imagenet_c, "snow")
    assert set(part.more_metrics(part.test, SimpleNamespace(correct=[True] * 10))) == {"accuracy_snow"}


def test_wrong_options_and_missing_folders_of_imagenet_c(imagenet_c, tmp_path):
    with raises_user_error("DATASET.IMAGENET_C.CORRUPTION", "'rain'", "'fog'", "'spatter'", error=ValueError):
        build_c(imagenet_c, "rain")
    with raises_user_error("DATASET.IMAGENET_C.SEVERITY", "6", error=ValueError):
        build_c(imagenet_c, severity=6)
    shutil.copytree(imagenet_c, tmp_path, dirs_exist_ok=True)
    shutil.rmtree(tmp_path / "imagenet-c" / "fog" / "2")
    for corruption, severity in (("all", 0), ("fog", 2), ("spatter", 1)):
        with raises_user_error("ImageNetC", "missing", "DATASET.IMAGENET_C", error=FileNotFoundError):
            build_c(tmp_path, corruption, severity)
    assert len(build_c(tmp_path, "all", 1).test) == 30
    (tmp_path / "imagenet-c" / "fog" / "1" / "n99999999").mkdir()
    with raises_user_error("n99999999", "classnames.txt", error=ValueError):
        build_c(tmp_path, "fog", 1)


def outcomes(confidence, correct):
    return SimpleNamespace(confidence=np.asarray(confidence), correct=np.asarray(correct))


def test_anomalies_are_the_positive_class(tmp_path):
    from sklearn.metrics import average_precision_score, roc_auc_score

    mini_raw.imagenet_o(tmp_path)
    data = mini.build("ImageNetO", tmp_path)
    is_anomaly = ["imagenet-o" in item.impath for item in data.test]
    assert sum(is_anomaly) == 6 and [data.domains[item.domain] == "anomaly" for item in data.test] == is_anomaly
    rng = np.random.default_rng(0)
    confidence = rng.integers(1, 6, len(is_anomaly)) / 5  # with ties
    correct = rng.random(len(is_anomaly)) < 0.5
    results = data.more_metrics(data.test, outcomes(confidence, correct))
    assert results["aupr"] == pytest.approx(100 * average_precision_score(is_anomaly, -confidence))
    assert results["auroc_anomaly"] == pytest.approx(100 * roc_auc_score(is_anomaly, -confidence))
    assert results["accuracy_imagenet"] == pytest.approx(100 * correct[~np.array(is_anomaly)].mean())
    unsure_of_anomalies = np.where(is_anomaly, 0.1, 0.9)
    assert data.more_metrics(data.test, outcomes(unsure_of_anomalies, correct))["aupr"] == 100
    shutil.rmtree(tmp_path / "imagenet" / "images" / "val" / "n01443537")
    with raises_user_error("ImageNetO", "n01443537", "'goldfish'", error=FileNotFoundError):
        mini.build("ImageNetO", tmp_path)


def test_a_run_on_imagenet_o_is_compared_by_aupr(tmp_path, capsys):
    """With the probabilities of `load_tuned` for the same images."""
    from sklearn.metrics import average_precision_score

    mini_raw.imagenet_o(tmp_path)
    argv = ["--root", str(tmp_path), "--trainer", "ZeroshotCLIP", "--backbone", "micro", "--seed", "1", "--eval-only"]
    argv += ["--dataset-config-file", "configs/datasets/imagenet_o.yaml", "--output-dir", str(tmp_path / "run")]
    assert train.main([*argv, "USE_CUDA", "False", "DATALOADER.NUM_WORKERS", "0", "INPUT.SIZE", "(32,32)"]) == 0
    record = json.loads((tmp_path / "run" / "result.json").read_text())
    test = mini.build("ImageNetO", tmp_path).test
    confidence = load_tuned(tmp_path / "run").predict([item.impath for item in test]).probabilities.amax(1).numpy()
    expected = 100 * average_precision_score(["imagenet-o" in item.impath for item in test], -confidence)
    assert record["metric"] == "aupr" and record["metrics"]["test"]["aupr"] == pytest.approx(expected)
    assert f"* aupr: {expected:.2f}%" in capsys.readouterr().out


@pytest.mark.parametrize("cache_gb", [0.0, 0.1])
def test_the_border_is_cut_off(tmp_path, cache_gb):
    """By the loaders and by `load_tuned`; the other pixels stay as they are."""
    pixels = np.random.default_rng(0).integers(0, 256, (9, 12, 3), np.uint8)
    inner = pixels[2:-2, 2:-2].copy()
    pixels[[0, -1]] = pixels[:, [0, -1]] = (255, 0, 0)
    path = tmp_path / "photo.png"
    Image.fromarray(pixels).save(path)
    cfg = toy.make_cfg(tmp_path, tmp_path, INPUT__CROP_BORDER=2, DATALOADER__CACHE_GB=cache_gb)
    loader = build_data_loader(cfg, data_source=[Datum(str(path))], tfm=np.array)
    for _ in range(2):
        (batch,) = loader
        assert np.array_equal(batch["img"][0], inner)
    for image in (path, pixels, Image.fromarray(pixels)):
        assert np.array_equal(read_rgb(image, cfg.INPUT), inner)
    assert np.array_equal(read_image(path), pixels)
    with raises_user_error(path, "12x9", "INPUT.CROP_BORDER 5", error=OSError):
        read_image(path, border=5)


def test_objectnet_needs_its_border_cut_off(tmp_path):
    mini_raw.objectnet(tmp_path)
    cfg = mini.make_cfg("ObjectNet", tmp_path)
    cfg.INPUT.CROP_BORDER = 0
    with raises_user_error("ObjectNet", "INPUT.CROP_BORDER", "2", "configs/datasets/objectnet.yaml", error=ValueError):
        DATASET_REGISTRY.get("ObjectNet")(cfg)


def test_folders_and_mappings_of_objectnet(tmp_path):
    mini_raw.objectnet(tmp_path)
    folder = tmp_path / "objectnet-1.0"
    mappings = {
        name: folder / "mappings" / f"{name}.json" for name in ("folder_to_objectnet_label", "objectnet_to_imagenet_1k")
    }
    content = {name: path.read_text() for name, path in mappings.items()}
    assert not any("zebra" in item.impath for item in mini.build("ObjectNet", tmp_path).test)
    (folder / "images" / "unicorn").mkdir()
    with raises_user_error("ObjectNet", "unicorn", "folder_to_objectnet_label.json", error=ValueError):
        mini.build("ObjectNet", tmp_path)
    (folder / "images" / "unicorn").rmdir()
    for name, wrong, fact in (
        ("folder_to_objectnet_label", ["alarm_clock"], "one text per name"),
        ("objectnet_to_imagenet_1k", {**json.loads(content["objectnet_to_imagenet_1k"]), "Yo-yo": "yo-yo"}, "'Yo-yo'"),
    ):
        mappings[name].write_text(json.dumps(wrong))
        with raises_user_error("ObjectNet", fact, error=ValueError):
            mini.build("ObjectNet", tmp_path)
        mappings[name].unlink()
        with raises_user_error("ObjectNet", mappings[name], error=FileNotFoundError):
            mini.build("ObjectNet", tmp_path)
        mappings[name].write_text(content[name])
    shutil.rmtree(folder / "images" / "bench")
    mini.build("ObjectNet", tmp_path)  # incomplete: `--check` compares the counts

"""Every YAML file merges into the config, names registered classes, and starts with a command that uses it."""

from pathlib import Path

import pytest
import yaml

import train
from dassl.data.datasets import DATASET_REGISTRY
from dassl.engine import TRAINER_REGISTRY
from runtime.config_files import overlay, read_chain
from tests.datasets.mini import PREPROCESSING

CONFIGS = sorted(Path("configs").rglob("*.yaml"))
TRAINERS = sorted(Path("configs/trainers").rglob("*.yaml"))
DATASETS = sorted(Path("configs/datasets").glob("*.yaml"))


@pytest.mark.parametrize("path", TRAINERS, ids=str)
def test_trainer_config(path):
    argv = ["--config-file", str(path), "--dataset-config-file", "configs/datasets/digits.yaml"]
    cfg = train.setup_cfg(train.parse_args(argv))
    assert path.parent.name in (*TRAINER_REGISTRY.registered_names(), "_base_")
    assert cfg.MODEL.BACKBONE.NAME and cfg.INPUT.INTERPOLATION == "bicubic" and cfg.INPUT.PIXEL_MEAN[0] == 0.48145466
    if path.stem.startswith("micro"):
        assert "random_flip" not in cfg.INPUT.TRANSFORMS and cfg.INPUT.RRCROP_SCALE[0] >= 0.5  # digits


@pytest.mark.parametrize("path", TRAINERS, ids=str)
def test_a_file_repeats_no_value_of_its_base(path):
    chain = read_chain(str(path))
    base = {}
    for _, content in chain[:-1]:
        base = overlay(base, content)
    for key, value in flat(chain[-1][1]):
        assert value != dict(flat(base)).get(key), f"{path} repeats {'.'.join(key)} of its base"


def flat(content, prefix=()):
    """Yields (tuple of nested keys, value) for all values of a nested dict."""
    for key, value in content.items():
        if isinstance(value, dict):
            yield from flat(value, (*prefix, key))
        else:
            yield (*prefix, key), value


def test_every_method_extends_a_shared_file():
    assert all(len(read_chain(str(path))) > 1 for path in TRAINERS if path.parent.name != "_base_")


@pytest.mark.parametrize("path", DATASETS, ids=str)
def test_dataset_config(path):
    cfg = train.setup_cfg(train.parse_args(["--dataset-config-file", str(path)]))
    assert cfg.DATASET.NAME in DATASET_REGISTRY.registered_names()
    content = yaml.safe_load(path.read_text())
    assert content == {"DATASET": content["DATASET"], **PREPROCESSING.get(path.stem, {})}


@pytest.mark.parametrize("path", TRAINERS + DATASETS, ids=str)
def test_starts_with_a_command_that_uses_it(path):
    head = [line for line in path.read_text().splitlines()[:4] if line.startswith("#")]
    assert any("bash scripts/" in line or "python " in line for line in head)


def test_paper_setting():
    """The paper: SGD with learning rate 0.002, cosine schedule, one warm-up epoch at 1e-5, batch size 32, beta 8."""
    for name, epochs in (("vit_b16_ep100", 100), ("vit_b16_ep10", 10)):
        cfg = train.setup_cfg(train.parse_args(["--config-file", f"configs/trainers/CLIPFit/{name}.yaml"]))
        optim = cfg.OPTIM
        assert (optim.NAME, optim.LR, optim.MOMENTUM, optim.WEIGHT_DECAY) == ("sgd", 0.002, 0.9, 5e-4)
        assert (optim.LR_SCHEDULER, optim.WARMUP_EPOCH, optim.WARMUP_TYPE) == ("cosine", 1, "constant")
        assert optim.WARMUP_CONS_LR == 1e-5 and optim.MAX_EPOCH == epochs and not optim.SGD_NESTEROV
        assert cfg.DATALOADER.TRAIN_X.BATCH_SIZE == 32 and cfg.DATALOADER.TEST.BATCH_SIZE == 100
        assert tuple(cfg.INPUT.TRANSFORMS) == ("random_resized_crop", "random_flip", "normalize")
        assert cfg.TRAINER.CLIPFIT.BETA == 8.0 and cfg.MODEL.BACKBONE.NAME == "ViT-B/16"

"""Defaults that runs rely on, and errors for mistyped keys."""

import pytest
from yacs.config import CfgNode as CN

from dassl.config import cfg_default, clean_cfg, get_cfg_default

RELIED_ON = {
    "SEED": -1,
    "USE_CUDA": True,
    "VERBOSE": True,
    "OUTPUT_DIR": "./output",
    "RESUME": "",
    "INPUT.SIZE": (224, 224),
    "INPUT.INTERPOLATION": "bilinear",
    "INPUT.RRCROP_SCALE": (0.08, 1.0),
    "INPUT.NO_TRANSFORM": False,
    "DATASET.NUM_SHOTS": -1,
    "DATALOADER.NUM_WORKERS": 4,
    "DATALOADER.K_TRANSFORMS": 1,
    "DATALOADER.TRAIN_X.SAMPLER": "RandomSampler",
    "DATALOADER.TRAIN_X.BATCH_SIZE": 32,
    "DATALOADER.TEST.SAMPLER": "SequentialSampler",
    "DATALOADER.TEST.BATCH_SIZE": 32,
    "OPTIM.NAME": "adam",
    "OPTIM.LR": 3e-4,
    "OPTIM.WEIGHT_DECAY": 5e-4,
    "OPTIM.MOMENTUM": 0.9,
    "OPTIM.SGD_DAMPNING": 0,
    "OPTIM.SGD_NESTEROV": False,
    "OPTIM.LR_SCHEDULER": "single_step",
    "OPTIM.MAX_EPOCH": 10,
    "OPTIM.WARMUP_EPOCH": -1,
    "OPTIM.WARMUP_TYPE": "linear",
    "OPTIM.WARMUP_CONS_LR": 1e-5,
    "OPTIM.WARMUP_MIN_LR": 1e-5,
    "OPTIM.WARMUP_RECOUNT": True,
    "OPTIM.STAGED_LR": False,
    "TRAIN.CHECKPOINT_FREQ": 0,
    "TRAIN.PRINT_FREQ": 10,
    "TEST.EVALUATOR": "Classification",
    "TEST.SPLIT": "test",
    "TEST.FINAL_MODEL": "last_step",
    "TEST.NO_TEST": False,
    "TEST.PER_CLASS_RESULT": False,
    "TEST.COMPUTE_CMAT": False,
    "MODEL.BACKBONE.NAME": "",
    "MODEL.INIT_WEIGHTS": "",
    "TRAINER.NAME": "",
}


@pytest.mark.parametrize("key", RELIED_ON)
def test_defaults(key):
    node = get_cfg_default()
    for part in key.split("."):
        node = node[part]
    assert node == RELIED_ON[key]


def test_copy_is_independent():
    cfg = get_cfg_default()
    cfg.OPTIM.LR = 7.0
    assert get_cfg_default().OPTIM.LR == 3e-4


def test_a_module_registers_its_keys():
    cfg_default.TRAINER.TOY_KEYS = CN({"ALPHA": 1.0})
    try:
        assert get_cfg_default().TRAINER.TOY_KEYS.ALPHA == 1.0
        cfg = get_cfg_default()
        cfg.TRAINER.OTHER = CN()
        clean_cfg(cfg, "toy_keys")
        assert set(cfg.TRAINER) == {"NAME", "TOY_KEYS"}
    finally:
        cfg_default.TRAINER.pop("TOY_KEYS")


def test_unknown_keys_and_types_fail():
    with pytest.raises(AssertionError, match="OPTIM.LRR"):
        get_cfg_default().merge_from_list(["OPTIM.LRR", 1.0])
    with pytest.raises(KeyError, match="OPTIM.LRR"):
        get_cfg_default().merge_from_other_cfg(CN({"OPTIM": CN({"LRR": 1.0})}))
    with pytest.raises(ValueError, match="LR"):
        get_cfg_default().merge_from_list(["OPTIM.LR", "fast"])

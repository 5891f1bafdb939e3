"""Checks the values of a config against their limits, before data or a model are loaded.

Methods check their own keys (`check_cfg`). Here are the keys of all methods.
"""

from __future__ import annotations

import math

from yacs.config import CfgNode

from .config_values import flat_keys

AT_LEAST_1 = (
    "OPTIM.MAX_EPOCH", "DATALOADER.TRAIN_X.BATCH_SIZE", "DATALOADER.TRAIN_U.BATCH_SIZE", "DATALOADER.TEST.BATCH_SIZE",
    "DATALOADER.TRAIN_X.N_INS", "DATALOADER.TRAIN_U.N_INS", "DATALOADER.K_TRANSFORMS", "TRAIN.PRINT_FREQ",
    "INPUT.SIZE",
)  # fmt: skip
AT_LEAST_0 = (
    "OPTIM.LR", "OPTIM.WEIGHT_DECAY", "OPTIM.MOMENTUM", "OPTIM.BASE_LR_MULT", "OPTIM.GAMMA", "OPTIM.RMSPROP_ALPHA",
    "OPTIM.WARMUP_CONS_LR", "OPTIM.WARMUP_MIN_LR", "DATALOADER.NUM_WORKERS", "DATALOADER.CACHE_GB",
    "INPUT.CROP_PADDING", "INPUT.CUTOUT_N", "INPUT.CUTOUT_LEN", "INPUT.RANDAUGMENT_N",
    "INPUT.GN_STD", "MODEL.GRADIENT_CACHING",
)  # fmt: skip
BELOW_1 = ("OPTIM.ADAM_BETA1", "OPTIM.ADAM_BETA2", "MODEL.HEAD.DROPOUT")  # from 0
CHOICES = {
    "INPUT.INTERPOLATION": ("bilinear", "bicubic", "nearest"),
    "INPUT.RESIZE_MODE": ("shortest", "squash"),
    "TEST.SPLIT": ("test", "val"),
    "TEST.FINAL_MODEL": ("last_step", "best_val"),
}
SMALLEST, LARGEST = 1e-37, 1e38  # of the numbers of a config: they and their inverses are fp32 values
ABOVE_0 = ("INPUT.PIXEL_STD", "DATALOADER.FEATURES_GB")
REMEDIES = {
    "OPTIM.MAX_EPOCH": "; --eval-only evaluates without training",
    "DATALOADER.FEATURES_GB": '; DATALOADER.FEATURES "" keeps no features',
}


def check_limits(cfg: CfgNode, training: bool) -> None:
    """Raises ValueError that names the first key whose value is not allowed. `training`: images are trained on."""
    for key in flat_keys(cfg):
        if not all(map(math.isfinite, numbers(cfg, key))):
            raise ValueError(f"{key} must be finite, got {value_of(cfg, key)}")
        if not all(x == 0 or SMALLEST <= abs(x) <= LARGEST for x in numbers(cfg, key)):
            raise ValueError(
                f"{key} must be 0 or have a magnitude from {SMALLEST:g} to {LARGEST:g} (fp32), got {value_of(cfg, key)}"
            )
    for keys, allowed, description in (
        (AT_LEAST_1, lambda x: x >= 1, "at least 1"),
        (AT_LEAST_0, lambda x: x >= 0, "at least 0"),
        (BELOW_1, lambda x: 0 <= x < 1, "at least 0 and less than 1"),
        (ABOVE_0, lambda x: x > 0, "above 0"),
    ):
        for key in keys:
            if not all(map(allowed, numbers(cfg, key))):
                raise ValueError(f"{key} must be {description}, got {value_of(cfg, key)}{REMEDIES.get(key, '')}")
    for key, choices in CHOICES.items():
        if value_of(cfg, key) not in choices:
            raise ValueError(f"{key} must be {' or '.join(map(repr, choices))}, got {value_of(cfg, key)!r}")
    for key in ("INPUT.SIZE", "INPUT.RRCROP_SCALE"):
        if len(value_of(cfg, key)) != 2:
            raise ValueError(f"{key} must be two numbers, got {value_of(cfg, key)}")
    check_shots(cfg.DATASET.NUM_SHOTS, training)


def check_shots(shots: int, training: bool) -> None:
    """Raises ValueError unless `shots` is at least 1, or -1 for all images. Without training, 0 is allowed too.

    In CoOp every number below 1 means all images, so that 0 trains on all of them.
    """
    if shots < -1 or (shots == 0 and training):
        raise ValueError(
            f"DATASET.NUM_SHOTS must be at least 1, or -1 for all training images, got {shots}; zero-shot CLIP is "
            "--trainer ZeroshotCLIP"
        )


def value_of(cfg: CfgNode, key: str):
    """Returns the value of a dotted key; an empty tuple if this Dassl does not have the key."""
    for part in key.split("."):
        cfg = cfg.get(part, ()) if isinstance(cfg, CfgNode) else ()
    return cfg


def numbers(cfg: CfgNode, key: str) -> list[float]:
    """Returns the numbers in the value of a key."""
    value = value_of(cfg, key)
    values = value if isinstance(value, (tuple, list)) else (value,)
    return [x for x in values if isinstance(x, (int, float)) and not isinstance(x, bool)]

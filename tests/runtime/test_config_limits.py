"""Values that cannot work are refused by key, value and what is allowed."""

import pytest

import train
from runtime.config_limits import check_limits
from tests.user_errors import raises_user_error

WRONG = {
    "OPTIM.MAX_EPOCH": ("0", "at least 1"),
    "DATALOADER.TRAIN_X.BATCH_SIZE": ("0", "at least 1"),
    "DATALOADER.TEST.BATCH_SIZE": ("-4", "at least 1"),
    "DATALOADER.K_TRANSFORMS": ("0", "at least 1"),
    "DATALOADER.NUM_WORKERS": ("-1", "at least 0"),
    "DATALOADER.CACHE_GB": ("-1", "at least 0"),
    "TRAIN.PRINT_FREQ": ("0", "at least 1"),
    "OPTIM.LR": ("-0.1", "at least 0"),
    "OPTIM.WEIGHT_DECAY": ("-0.1", "at least 0"),
    "OPTIM.ADAM_BETA1": ("1.0", "less than 1"),
    "INPUT.SIZE": ("(224,)", "two"),
    "INPUT.PIXEL_STD": ("[0, 1, 1]", "above 0"),
    "INPUT.INTERPOLATION": ("cubic", "bicubic"),
    "TEST.SPLIT": ("train", "val"),
    "TEST.FINAL_MODEL": ("best", "best_val"),
    "DATASET.NUM_SHOTS": ("0", "-1"),
    "TRAINER.CLIPFIT.BETA": ("1e999", "finite"),
    "TRAINER.GDA.ALPHAS": ("(1e+300,)", "1e+38"),
    "TRAINER.PROMPTSRC.GPA_STD": ("1e-300", "1e-37"),
    "INPUT.PIXEL_MEAN": ("[1e999, 0, 0]", "finite"),
}


def setup(*argv):
    return train.setup_cfg(train.parse_args(list(argv)))


@pytest.mark.parametrize("key", WRONG)
def test_a_value_that_is_not_allowed(key):
    value, allowed = WRONG[key]
    with raises_user_error(key, allowed, value.strip("([])").split(",")[0].replace("1e999", "inf"), error=ValueError):
        setup("--trainer", "CLIPFit", key, value)


@pytest.mark.parametrize("value", ["nan", "inf", "-inf"])
def test_a_learning_rate_that_is_no_number(value, tmp_path):
    with raises_user_error("OPTIM.LR", value, error=ValueError):
        setup("OPTIM.LR", value)
    (tmp_path / "a.yaml").write_text(f"OPTIM: {{LR: .{value}}}".replace(".-inf", "-.inf"))
    with raises_user_error("OPTIM.LR", value, error=ValueError):
        setup("--config-file", str(tmp_path / "a.yaml"))


def test_no_shots_are_allowed_if_nothing_is_trained():
    for argv in (["--trainer", "ZeroshotCLIP"], ["--trainer", "CLIPFit", "--eval-only"]):
        assert setup(*argv, "DATASET.NUM_SHOTS", "0").DATASET.NUM_SHOTS == 0
        with raises_user_error("DATASET.NUM_SHOTS", "-2", error=ValueError):
            setup(*argv, "DATASET.NUM_SHOTS", "-2")
    assert setup("--trainer", "CLIPFit", "DATASET.NUM_SHOTS", "-1").DATASET.NUM_SHOTS == -1


def test_a_dassl_without_a_key():
    cfg = setup().clone()
    cfg.defrost()
    del cfg.DATALOADER["CACHE_GB"]
    check_limits(cfg, training=True)

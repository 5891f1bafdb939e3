"""configs/recipes.yaml: every recipe is a valid configuration, and the recipes have the published values."""

from pathlib import Path

import pytest

import train
from tests.user_errors import assert_user_error, raises_user_error
from tools.recipe import DEFAULT, EVERY, config_file, main, read_table, recipe

TABLE = read_table()
METHODS = [name for name in TABLE if name != EVERY]
DATASETS = [path.stem for path in Path("configs/datasets").glob("*.yaml")]


def cfg_of(method, protocol, dataset, shots=16, backbone="ViT-B/16"):
    name, keys = recipe(method, protocol, dataset, shots, backbone, TABLE)
    argv = ["--config-file", config_file(method, name), "--trainer", method]
    return train.setup_cfg(train.parse_args([*argv, *(str(x) for pair in keys.items() for x in pair)]))


@pytest.mark.parametrize("method", METHODS)
def test_every_recipe_is_a_valid_configuration(method):
    assert set(TABLE[method]) - {"retrieval"} == {"base2new", "fewshot", "cross_dataset", "domain_shift"}
    assert method != "default" or "retrieval" in TABLE[method]
    recipes = set()
    for protocol in TABLE[method]:
        for dataset in DATASETS:
            for shots in (1, 2, 4, 8, 16):
                name, keys = recipe(method, protocol, dataset, shots, table=TABLE)
                recipes.add((name, tuple((k, str(v)) for k, v in keys.items())))
            assert recipe(method, protocol, dataset, 16, "micro", TABLE)[0].startswith("micro")
        assert cfg_of(method, protocol, "digits", 16, "micro").MODEL.BACKBONE.NAME == "micro"
    for name, keys in sorted(recipes):
        argv = ["--config-file", config_file(method, name), *(x for pair in keys for x in pair)]
        assert train.setup_cfg(train.parse_args(argv)).MODEL.BACKBONE.NAME == "ViT-B/16"


PUBLISHED = [  # method, protocol, dataset, shots, epochs, batch size, learning rate, a key and its value
    ("CLIPFit", "base2new", "dtd", 16, 100, 32, 0.002, "TRAINER.CLIPFIT.BETA", 8.0),
    ("CLIPFit", "base2new", "food101", 16, 10, 32, 0.002, "TRAINER.CLIPFIT.BETA", 8.0),
    ("CLIPFit", "fewshot", "imagenet", 1, 10, 32, 0.002, "TRAINER.CLIPFIT.BETA", 2.0),
    ("CLIPFit", "fewshot", "eurosat", 4, 100, 32, 0.002, "TRAINER.CLIPFIT.BETA", 2.0),
    ("CLIPFit", "fewshot", "dtd", 16, 100, 32, 0.002, "TRAINER.CLIPFIT.BETA", 8.0),
    ("CLIPFit", "fewshot", "sun397", 2, 100, 32, 0.002, "TRAINER.CLIPFIT.BETA", 8.0),
    ("CLIPFit", "cross_dataset", "imagenet", 16, 10, 32, 0.002, "TRAINER.CLIPFIT.BETA", 8.0),
    ("CLIPFit", "domain_shift", "imagenet", 16, 10, 32, 0.002, "TRAINER.CLIPFIT.BETA", 2.0),
    ("CoOp", "base2new", "dtd", 16, 200, 32, 0.002, "TRAINER.COOP.CTX_INIT", "a photo of a"),
    ("CoOp", "base2new", "imagenet", 16, 50, 32, 0.002, "TRAINER.COOP.CTX_INIT", "a photo of a"),
    ("CoOp", "fewshot", "dtd", 1, 50, 32, 0.002, "TRAINER.COOP.N_CTX", 16),
    ("CoOp", "fewshot", "dtd", 2, 100, 32, 0.002, "TRAINER.COOP.CTX_INIT", None),
    ("CoOp", "fewshot", "dtd", 4, 100, 32, 0.002, "TRAINER.COOP.CSC", False),
    ("CoOp", "fewshot", "dtd", 8, 200, 32, 0.002, "TRAINER.COOP.CLASS_TOKEN_POSITION", "end"),
    ("CoOp", "fewshot", "imagenet", 16, 50, 32, 0.002, "TRAINER.COOP.N_CTX", 16),
    ("CoOp", "cross_dataset", "imagenet", 16, 50, 32, 0.002, "TRAINER.COOP.CTX_INIT", "a photo of a"),
    ("CoCoOp", "domain_shift", "imagenet", 16, 10, 1, 0.002, "TRAINER.COCOOP.CTX_INIT", "a photo of a"),
    ("CoCoOp", "base2new", "imagenet", 16, 10, 1, 0.002, "TRAINER.COCOOP.CTX_INIT", "a photo of a"),
    ("KgCoOp", "base2new", "dtd", 16, 100, 128, 0.002, "TRAINER.COOP.W", 8.0),
    ("KgCoOp", "cross_dataset", "imagenet", 4, 100, 128, 0.002, "TRAINER.COOP.W", 8.0),
    ("ProGrad", "base2new", "dtd", 4, 100, 32, 0.002, "LOSS.LAMBDA", 1.0),
    ("ProGrad", "fewshot", "dtd", 8, 200, 32, 0.002, "LOSS.LAMBDA", 0.8),
    ("ProGrad", "fewshot", "eurosat", 4, 100, 32, 0.002, "LOSS.LAMBDA", 1.0),
    ("ProGrad", "fewshot", "sun397", 16, 200, 32, 0.002, "LOSS.LAMBDA", 1.0),
    ("ProGrad", "fewshot", "imagenet", 16, 50, 32, 0.002, "TRAINER.COOP.CTX_INIT", True),
    ("MaPLe", "base2new", "dtd", 16, 5, 4, 0.0035, "TRAINER.MAPLE.PROMPT_DEPTH", 9),
    ("MaPLe", "cross_dataset", "imagenet", 16, 2, 4, 0.0026, "TRAINER.MAPLE.PROMPT_DEPTH", 3),
    ("MaPLe", "domain_shift", "imagenet", 16, 2, 4, 0.0026, "TRAINER.MAPLE.PROMPT_DEPTH", 3),
    ("PromptSRC", "base2new", "dtd", 16, 20, 4, 0.0025, "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", 9),
    ("PromptSRC", "fewshot", "ucf101", 16, 50, 4, 0.0025, "TRAINER.PROMPTSRC.GPA_MEAN", 30.0),
    ("PromptSRC", "fewshot", "dtd", 1, 50, 4, 0.0025, "TRAINER.PROMPTSRC.GPA_STD", 5.0),
    ("PromptSRC", "domain_shift", "imagenet", 16, 20, 4, 0.0025, "TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", 3),
    ("IVLP", "base2new", "dtd", 16, 20, 4, 0.0025, "TRAINER.IVLP.N_CTX_VISION", 4),
    ("TCP", "base2new", "dtd", 16, 50, 32, 0.002, "OPTIM.NAME", "adam"),
    ("TCP", "base2new", "sun397", 16, 25, 32, 0.002, "TRAINER.TCP.W", 8.0),
    ("TipAdapterF", "cross_dataset", "imagenet", 16, 20, 256, 0.001, "TEST.FINAL_MODEL", "last_step"),
    ("TipAdapterF", "fewshot", "dtd", 16, 20, 256, 0.001, "TRAINER.TIP.SEARCH_SCALE", (13.0, 13.0)),
    ("TipAdapterF", "fewshot", "eurosat", 16, 100, 256, 0.001, "TRAINER.TIP.ALPHA", 2.0),
    ("TipAdapterF", "fewshot", "oxford_pets", 16, 20, 256, 0.001, "TEST.FINAL_MODEL", "best_val"),
    ("TipAdapterF", "fewshot", "imagenet", 16, 20, 256, 0.001, "TEST.FINAL_MODEL", "last_step"),
]


@pytest.mark.parametrize("method, protocol, dataset, shots, epochs, batch, lr, key, value", PUBLISHED)
def test_published_settings(method, protocol, dataset, shots, epochs, batch, lr, key, value):
    cfg = cfg_of(method, protocol, dataset, shots)
    assert cfg.OPTIM.MAX_EPOCH == epochs and cfg.OPTIM.LR == lr and cfg.DATALOADER.TRAIN_X.BATCH_SIZE == batch
    node = cfg
    for part in key.split("."):
        node = node[part]
    assert node == value
    if method not in ("TipAdapterF", "TCP"):
        assert (cfg.OPTIM.NAME, cfg.OPTIM.WARMUP_EPOCH, cfg.OPTIM.WARMUP_CONS_LR) == ("sgd", 1, 1e-5)


def test_later_rules_win_and_all_conditions_must_match():
    rules = [
        {"config": "a", "X.Y": 1},
        [{"datasets": ["dtd"], "X.Y": 2}, {"datasets": ["dtd"], "shots": [1], "config": "b"}],
        {"backbone": "micro", "config": "c"},
    ]
    table = {"M": {"p": rules}}
    assert recipe("M", "p", "sun397", table=table) == ("a", {"X.Y": 1})
    assert recipe("M", "p", "dtd", table=table) == ("a", {"X.Y": 2})
    assert recipe("M", "p", "dtd", 1, table=table) == ("b", {"X.Y": 2})
    assert recipe("M", "p", "dtd", 1, "micro", table=table) == ("c", {"X.Y": 2})


def test_a_method_without_a_recipe_gets_the_default():
    assert recipe("TextResidual", "base2new", "dtd") == ("vit_b16_ep100", {})
    assert recipe("TextResidual", "domain_shift", "digits", backbone="micro") == ("micro_ep100", {})
    with raises_user_error("recipes.yaml", "'M'", "N", error=ValueError):
        recipe("M", "p", "dtd", table={"N": {}})


def test_config_files():
    assert config_file("CoOp", "vit_b16_ep100") == "configs/trainers/CoOp/vit_b16_ep100.yaml"  # its own first
    assert config_file("CoOp", "micro_ep100") == "configs/trainers/_base_/micro_ep100.yaml"
    with raises_user_error("'rn50'", "CoOp", "vit_b16_ctxv1", "micro_ep100", error=ValueError):
        config_file("CoOp", "rn50")


def test_command_line(capsys):
    assert main(["CLIPFit", "fewshot", "dtd", "--shots", "4"]) == 0
    assert capsys.readouterr() == ("vit_b16_ep100\nTRAINER.CLIPFIT.BETA\n8.0\n", "")
    assert main(["--methods"]) == 0
    assert capsys.readouterr().out.split() == [name for name in METHODS if name != DEFAULT]
    assert main(["TextResidual", "fewshot", "dtd"]) == 0
    out, err = capsys.readouterr()
    assert out == "vit_b16_ep100\n" and "TextResidual" in err and "default" in err
    assert main(["CoOp", "zeroshot", "dtd"]) == 1
    err = capsys.readouterr().err
    assert_user_error((1, err), "recipes.yaml", "'zeroshot'", "CoOp", "base2new", "fewshot", "cross_dataset")
    with pytest.raises(SystemExit):
        main(["CoOp"])


@pytest.mark.parametrize("method", METHODS)
def test_recipes_for_all_images(method):
    """No length per shot, and no epochs of a rule for 16 shots of a large dataset."""
    for protocol in TABLE[method].keys() - {"retrieval"}:  # which has epochs of its own
        for dataset, epochs in (("imagenet", 5), ("sun397", 10), ("oxford_flowers", 30)):
            found = cfg_of(method, protocol, dataset, -1).OPTIM
            assert found.ITERATIONS == ""
            assert found.MAX_EPOCH == (300 if method == "ProLIP" else epochs)


def test_rules_for_every_method_come_first():
    table = {"M": {"p": [{"config": "a", "X.Y": 1}]}, "every": [{"shots": "all", "X.Y": 2, "X.Z": 2}]}
    assert recipe("M", "p", "dtd", -1, table=table) == ("a", {"X.Y": 1, "X.Z": 2})
    assert recipe("M", "p", "dtd", 16, table=table) == ("a", {"X.Y": 1})
    assert recipe("CLIPFit", "fewshot", "dtd", -1)[1]["OPTIM.MAX_EPOCH"] == 30
    assert recipe("every", "fewshot", "dtd") == recipe("unknown", "fewshot", "dtd")

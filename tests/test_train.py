"""train.py: CoOp's flags, the order in which config values are merged, and one line per user error."""

import json
import re
import shutil

import pytest

import train
from tests.trainers.helpers import FAST
from tests.user_errors import assert_user_error, raises_user_error

DIGITS = "configs/datasets/digits.yaml"
MICRO = "configs/trainers/CLIPFit/micro_ep100.yaml"


def cfg_of(*argv):
    return train.setup_cfg(train.parse_args(list(argv)))


def test_has_every_flag_of_coop():
    args = vars(train.parse_args([]))
    coop = (
        "root output_dir resume seed source_domains target_domains transforms config_file dataset_config_file trainer "
        "backbone head eval_only model_dir load_epoch no_train opts"
    )
    assert set(args) == {*coop.split(), "wandb", "plugin", "quiet", "verbose"}


def test_precedence(tmp_path):
    yaml = tmp_path / "method.yaml"
    yaml.write_text(
        "OPTIM: {LR: 0.1, MAX_EPOCH: 7, MOMENTUM: 0.5}\nDATASET: {ROOT: yaml}\nMODEL: {BACKBONE: {NAME: RN50}}\n"
    )
    dataset = tmp_path / "dataset.yaml"
    dataset.write_text("DATASET: {NAME: Digits}\nOPTIM: {LR: 0.3, NAME: adamw}\n")
    cfg = cfg_of(
        "--config-file", str(yaml), "--dataset-config-file", str(dataset), "--root", "flag", "--backbone", "micro",
        "OPTIM.MAX_EPOCH", "9", "MODEL.BACKBONE.NAME", "ViT-B/16",
    )  # fmt: skip
    assert cfg.OPTIM.WEIGHT_DECAY == 5e-4  # Dassl's default
    assert cfg.TRAINER.CLIPFIT.BETA == 8.0  # the method's default
    assert cfg.OPTIM.NAME == "adamw"  # the dataset's file
    assert cfg.OPTIM.LR == 0.1 and cfg.OPTIM.MOMENTUM == 0.5  # the method's file over the dataset's
    assert cfg.DATASET.ROOT == "flag"  # flags over files
    assert cfg.OPTIM.MAX_EPOCH == 9 and cfg.MODEL.BACKBONE.NAME == "ViT-B/16"  # KEY VALUE over all
    assert cfg.is_frozen()


def test_flags_reach_their_keys():
    cfg = cfg_of(
        "--source-domains", "a", "b", "--target-domains", "c", "--transforms", "normalize", "--trainer", "CLIPFit",
        "--resume", "r", "--output-dir", "o", "--head", "h", "--seed", "5",
    )  # fmt: skip
    assert cfg.DATASET.SOURCE_DOMAINS == ("a", "b") and cfg.DATASET.TARGET_DOMAINS == ("c",)
    assert cfg.INPUT.TRANSFORMS == ("normalize",) and cfg.TRAINER.NAME == "CLIPFit"
    assert (cfg.RESUME, cfg.OUTPUT_DIR, cfg.MODEL.HEAD.NAME, cfg.SEED) == ("r", "o", "h", 5)


def test_seed_0_is_a_seed_and_empty_values_are_ignored():
    assert cfg_of("--seed", "0").SEED == 0
    assert cfg_of().SEED == -1
    assert cfg_of("--output-dir", "").OUTPUT_DIR == "./output"


def test_integers_become_floats_if_the_key_holds_a_float():
    cfg = cfg_of("TRAINER.CLIPFIT.BETA", "2", "TRAINER.COOP.W", "+8", "OPTIM.MAX_EPOCH", "3")
    assert (cfg.TRAINER.CLIPFIT.BETA, cfg.TRAINER.COOP.W) == (2.0, 8.0) and isinstance(cfg.TRAINER.CLIPFIT.BETA, float)
    assert isinstance(cfg.OPTIM.MAX_EPOCH, int)
    with raises_user_error("2.5", "float", "int", "MAX_EPOCH", error=ValueError):
        cfg_of("OPTIM.MAX_EPOCH", "2.5")
    with raises_user_error("TRAINER.CLIPFIT.BETTA", "TRAINER.CLIPFIT.BETA", error=ValueError):
        cfg_of("TRAINER.CLIPFIT.BETTA", "2")


@pytest.fixture
def run(digits_root, tiny, tmp_path, capsys, monkeypatch):
    """run(*opts) -> (exit code, stdout, stderr). Runs train.py in this process and restores sys.stdout."""
    import sys

    def call(
        *opts, extra=(), root=digits_root, backbone=tiny, output=tmp_path / "run", trainer="CLIPFit", dataset=DIGITS
    ):
        flags = ["--root", str(root), "--backbone", backbone, "--output-dir", str(output), "--trainer", trainer]
        flags += ["--dataset-config-file", dataset, "--seed", "1"]
        stdout = sys.stdout
        code = train.main([*flags, *extra, *FAST, *opts])
        monkeypatch.setattr(sys, "stdout", stdout)
        captured = capsys.readouterr()
        return code, captured.out, captured.err

    return call


def test_train_then_evaluate_new_classes(run, tmp_path):
    code, out, _ = run("DATASET.SUBSAMPLE_CLASSES", "base")
    assert code == 0
    log = (tmp_path / "run" / "log.txt").read_text()
    assert re.search(
        r"^epoch \[1/3\] batch \[1/1\] time \S+ \(\S+\) data \S+ \(\S+\) loss \S+ \(\S+\) acc \S+ "
        r"\(\S+\) ce \S+ \(\S+\) kd \S+ \(\S+\) lr \S+ eta \d:\d\d:\d\d$",
        log,
        re.M,
    )
    after = log[log.index("\nFinish training\n") :]
    accuracy = float(re.search(r"\* accuracy: ([\.\deE+-]+)%", after)[1])
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["metrics"]["test"]["accuracy"] == pytest.approx(accuracy, abs=0.0051)
    assert result["finished"] and result["epochs"] == 3 and result["seed"] == 1 and not result["eval_only"]
    assert result["settings"]["TRAINER.CLIPFIT.BETA"] == 8.0 and "TRAINER.COOP.N_CTX" not in result["settings"]

    evaluate = ("--eval-only", "--model-dir", str(tmp_path / "run"), "--load-epoch", "3")
    code, out, _ = run("DATASET.SUBSAMPLE_CLASSES", "new", extra=evaluate, output=tmp_path / "new")
    assert code == 0 and "model.pth.tar-3" in out and "=> result" in out
    result = json.loads((tmp_path / "new" / "result.json").read_text())
    assert result["eval_only"] and result["classes"] == "new" and result["train_seconds"] is None

    code, out, _ = run("DATASET.SUBSAMPLE_CLASSES", "base")  # the same command again only tests
    assert code == 0 and "epoch [" not in out and "* accuracy" in out
    assert any("epoch 3" in line and "resum" in line.lower() for line in out.splitlines())


def assert_one_user_error(result, *facts):
    """The run ended with code 1 and printed one error line with these facts, and no traceback."""
    code, _, err = result
    (line,) = [line for line in err.splitlines() if line.startswith("error: ")]
    assert_user_error((code, line), *facts)
    assert "Traceback" not in err


USER_ERRORS = {  # name: (arguments of `run`, its trailing options, facts in the message)
    "unknown trainer": (dict(trainer="CLIPFitt"), (), ("TRAINER.NAME", "CLIPFitt", "CoCoOp")),
    "no trainer": (dict(trainer=""), (), ("--trainer", "TRAINER.NAME", "python train.py --trainer")),
    "unknown backbone": (dict(backbone="ViT-B/17"), (), ("'ViT-B/17'", "micro", "ViT-B/16")),
    "unknown key": ({}, ("TRAINER.CLIPFIT.BETTA", "2"), ("TRAINER.CLIPFIT.BETTA", "TRAINER.CLIPFIT.BETA")),
    "wrong type": ({}, ("OPTIM.MAX_EPOCH", "many"), ("MAX_EPOCH",)),
    "odd options": ({}, ("OPTIM.MAX_EPOCH",), ("KEY VALUE", "OPTIM.MAX_EPOCH")),
    "unknown dataset": ({}, ("DATASET.NAME", "Digitz"), ("Digitz", "Digits")),
    "missing config": (
        dict(dataset="configs/datasets/digitz.yaml"), (),
        ("--dataset-config-file", "configs/datasets/digitz.yaml", "digits.yaml"),
    ),
    "missing data": (dict(root="/nonexistent"), ("DATASET.NAME", "DescribableTextures"), ("/nonexistent",)),
    "no root": (dict(root=""), ("DATASET.NAME", "EuroSAT"), ("DATASET.ROOT",)),
    "missing checkpoint": (dict(extra=("--eval-only", "--model-dir", "/nonexistent")), (), ("/nonexistent",)),
    "missing resume": (dict(extra=("--resume", "/nonexistent")), (), ("/nonexistent",)),
    "bad subset": ({}, ("DATASET.SUBSAMPLE_CLASSES", "half"), ("SUBSAMPLE_CLASSES", "half")),
}  # fmt: skip


@pytest.mark.parametrize("name", USER_ERRORS)
def test_a_user_error_is_one_line_and_exit_code_1(run, name):
    arguments, opts, facts = USER_ERRORS[name]
    assert_one_user_error(run(*opts, **arguments), *facts)


@pytest.mark.parametrize("name", USER_ERRORS)
def test_a_run_that_cannot_start_leaves_no_files(run, tmp_path, name):
    arguments, opts, _ = USER_ERRORS[name]
    assert run(*opts, **arguments)[0] == 1
    assert not (tmp_path / "run").exists()


def test_the_log_begins_with_the_arguments(run, tmp_path):
    code, _, _ = run("OUTPUT_DIR", str(tmp_path / "run.txt"), extra=("--no-train",))
    assert code == 0
    log = (tmp_path / "run.txt" / "log.txt").read_text()  # a folder, whatever its name
    assert log.splitlines()[0] == "Setting fixed seed: 1" and "** Config **" in log


@pytest.mark.parametrize("output", ["file.txt", "file.txt/run", "link", "file.txt/a/b"])
def test_an_output_dir_that_is_a_file_is_named_before_data_are_read(run, tmp_path, output):
    (tmp_path / "file.txt").write_text("mine")
    (tmp_path / "link").symlink_to("nowhere")
    blocking = tmp_path / output.partition("/")[0]
    assert_one_user_error(run(output=tmp_path / output, root="/nonexistent"), "--output-dir", blocking)
    assert (tmp_path / "file.txt").read_text() == "mine"


@pytest.fixture
def digits_copy(run, tmp_path, digits_root):
    """The digits in a folder of their own, to be corrupted: (folder with the datasets, folder of the digits)."""
    run("OPTIM.MAX_EPOCH", "1")  # writes the digits
    digits = tmp_path / "data" / "digits"
    shutil.copytree(digits_root / "digits", digits)
    return tmp_path / "data", digits


def test_corrupted_image(run, tmp_path, digits_copy):
    root, digits = digits_copy
    shutil.rmtree(digits / "split_fewshot")
    for image in (digits / "images" / "zero").iterdir():
        image.write_bytes(b"\x89PNG broken")
    result = run(root=root, output=tmp_path / "other")
    assert_one_user_error(result)
    assert re.search(r"images/zero/\S+\.png", result[2])


def test_split_that_names_a_missing_image(run, tmp_path, digits_copy):
    root, digits = digits_copy
    image = sorted((digits / "images" / "three").iterdir())[0]
    image.unlink()
    assert_one_user_error(run(root=root, output=tmp_path / "other"), image.name)


def test_output_that_cannot_be_written(run, tmp_path):
    (tmp_path / "file").write_text("in the way")
    assert_one_user_error(run(output=tmp_path / "file" / "run"), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "in the way"


def test_nan_loss(run):
    result = run("OPTIM.LR", "1e30", "OPTIM.MAX_EPOCH", "20", "OPTIM.WARMUP_EPOCH", "-1")
    assert_one_user_error(result, "NaN", "OPTIM.LR")

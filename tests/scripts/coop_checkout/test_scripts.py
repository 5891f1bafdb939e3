"""The scripts for CoOp checkouts: their calls of train.py in a stand-in checkout, and one-line user errors."""

import re
import subprocess
import sys

import pytest

from scripts.coop_checkout import progress
from tests.tools.coop_checkout.stand_in import make_checkout, write
from tests.user_errors import assert_facts, assert_user_error
from tools import install_into_coop
from tools.coop_checkout.train_py import SOURCE

SCRIPTS = SOURCE / "scripts" / "coop_checkout"
TARGETS = {
    protocol: re.search(r'^DEFAULT_TARGETS="(.*)"$', (SCRIPTS / f"{protocol}.sh").read_text(), re.M)[1].split()
    for protocol in ("cross_dataset", "domain_shift")
}
# Replaces Python: records the calls of train.py and parse_test_res.py, and runs everything else.
RECORDING_PYTHON = """#!/bin/bash
case $1 in
    train.py | parse_test_res.py) echo "$@" >> calls ;;
    *) exec "{python}" "$@" ;;
esac
"""


@pytest.fixture
def checkout(tmp_path, capsys):
    folder = make_checkout(tmp_path / "CoOp")
    for name in ["imagenet", *TARGETS["cross_dataset"], *TARGETS["domain_shift"]]:
        write(folder / "configs" / "datasets" / f"{name}.yaml", "")
    write(folder / "parse_test_res.py", "")
    write(folder / "python", RECORDING_PYTHON.format(python=sys.executable))
    (folder / "python").chmod(0o755)
    assert install_into_coop.main([str(folder)]) == 0
    return folder


def run(checkout, script, *arguments):
    """Runs a script; returns the exit code, stdout, stderr, and the recorded calls as lists of words."""
    (checkout / "calls").unlink(missing_ok=True)
    command = ["bash", str(checkout / "scripts" / script), *arguments]
    environment = {"PATH": "/usr/bin:/bin", "PYTHON": str(checkout / "python")}
    result = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=60)
    calls = (checkout / "calls").read_text().splitlines() if (checkout / "calls").exists() else []
    return result.returncode, result.stdout, result.stderr, [call.split() for call in calls]


def value(call, flag):
    return call[call.index(flag) + 1]


def test_base2new(checkout):
    options = ["--data", "D", "--shots", "4", "--output", "O", "--best-val", "--", "OPTIM.LR", "0.1"]
    code, printed, _, calls = run(checkout, "clipfit/base2new.sh", "dtd", "2", *options)
    base, new, *parsed = calls
    assert code == 0
    assert_facts(printed.splitlines()[0], "configs/trainers/CLIPFit/vit_b16_ep100.yaml", "TRAINER.CLIPFIT.BETA 8.0")
    folder = "dtd/shots_4/CLIPFit/vit_b16_ep100_best_val"
    assert value(base, "--output-dir") == value(new, "--model-dir") == f"O/train_base/{folder}/seed2"
    assert value(new, "--output-dir") == f"O/test_new/{folder}/seed2" and "--eval-only" in new
    for call, classes in ((base, "base"), (new, "new")):
        flags = ("--root", "--trainer", "--backbone", "--seed", "DATASET.SUBSAMPLE_CLASSES", "DATASET.NUM_SHOTS")
        assert [value(call, flag) for flag in flags] == ["D", "CLIPFit", "ViT-B/16", "2", classes, "4"]
        assert call[-6:] == "TRAINER.CLIPFIT.BETA 8.0 TEST.FINAL_MODEL best_val OPTIM.LR 0.1".split()
    assert [call[1:] for call in parsed] == [
        [f"O/{parent}/{folder}", "--test-log"] for parent in ("test_new", "train_base")
    ]


def test_fewshot(checkout):
    *calls, _ = run(checkout, "clipfit/fewshot.sh", "food101", "8", "--backbone", "ViT-B/32")[3]
    folder = "output/fewshot/food101/shots_8/CLIPFit/vit_b16_ep10"
    assert [value(call, "--output-dir") for call in calls] == [f"{folder}/seed{seed}" for seed in (1, 2, 3)]
    assert {value(call, "--backbone") for call in calls} == {"ViT-B/32"}


@pytest.mark.parametrize("protocol", TARGETS)
def test_transfer_to_the_default_targets(checkout, protocol):
    train, *tests = run(checkout, f"clipfit/{protocol}.sh", "imagenet", "1")[3][: 1 + len(TARGETS[protocol])]
    run_folder = "shots_16/CLIPFit/vit_b16_ep10/seed1"
    trained = f"output/{protocol}/train/imagenet/{run_folder}"
    assert value(train, "--output-dir") == trained
    for call, name in zip(tests, TARGETS[protocol], strict=True):
        assert value(call, "--dataset-config-file") == f"configs/datasets/{name}.yaml"
        assert value(call, "--output-dir") == f"output/{protocol}/test/imagenet/{name}/{run_folder}"
        assert value(call, "--model-dir") == trained and "--eval-only" in call


def test_transfer_to_targets_in_other_data_folders(checkout):
    calls = run(checkout, "clipfit/cross_dataset.sh", "dtd", "1", "--data", "D", "--targets", "dtd eurosat=E ucf101")[3]
    assert [value(call, "--root") for call in calls if call[0] == "train.py"] == ["D", "E", "D"]


@pytest.mark.parametrize("protocol", ["base2new", "fewshot", "cross_dataset", "domain_shift"])
def test_both_scripts_are_the_same_command(checkout, protocol):
    calls = [run(checkout, script, *arguments, "dtd")[3] for script, *arguments in (
        (f"clipfit/{protocol}.sh",), (f"{protocol}.sh", "CLIPFit")
    )]  # fmt: skip
    assert calls[0] == calls[1] != []


@pytest.mark.parametrize("protocol", TARGETS)
def test_default_targets_are_those_of_the_catalogue(protocol):
    catalogue = pytest.importorskip("datasets.catalogue")
    assert TARGETS[protocol] == list(catalogue.targets(protocol))


@pytest.mark.parametrize(
    "script, arguments, facts",
    [
        ("clipfit/base2new.sh", [], ["DATASET", "dtd", "ucf101"]),
        ("clipfit/base2new.sh", ["digits"], ["digits", "dtd"]),
        ("clipfit/base2new.sh", ["dtd", "one"], ["SEED", "'one'"]),
        ("clipfit/base2new.sh", ["dtd", "0"], ["SEED", "0"]),
        ("clipfit/base2new.sh", ["dtd", "--config", "rn50"], ["rn50", "vit_b16_ep10 vit_b16_ep100"]),
        ("clipfit/base2new.sh", ["dtd", "--targets", "dtd"], ["--targets", "base2new"]),
        ("clipfit/base2new.sh", ["dtd", "--dta", "x"], ["--dta"]),
        ("clipfit/base2new.sh", ["dtd", "--data"], ["--data"]),
        ("clipfit/base2new.sh", ["dtd", "--shots", "0"], ["--shots", "'0'"]),
        ("clipfit/fewshot.sh", ["dtd", "four"], ["SHOTS", "four"]),
        ("clipfit/cross_dataset.sh", ["dtd", "--targets", "dtd x"], ["'x'"]),
        ("clipfit/cross_dataset.sh", ["dtd", "--targets", "dtd=a dtd=b"], ["--targets", "dtd"]),
        ("base2new.sh", ["CoOp", "dtd"], ["CLIPFit", "CoOp"]),
        ("base2new.sh", [], ["CLIPFit"]),
    ],
)
def test_user_errors(checkout, script, arguments, facts):
    code, _, err, calls = run(checkout, script, *arguments)
    assert_user_error((code, err), *facts, code=2)
    assert not calls


@pytest.mark.parametrize("protocol", ["base2new", "fewshot", "cross_dataset", "domain_shift"])
def test_help(checkout, protocol):
    code, printed, _, calls = run(checkout, f"clipfit/{protocol}.sh", "--help")
    assert code == 0 and not calls and f"scripts/clipfit/{protocol}.sh" in printed and "--best-val" in printed


def test_without_parse_test_res_the_run_directories_are_printed(checkout):
    (checkout / "parse_test_res.py").unlink()
    code, printed, err, calls = run(checkout, "clipfit/fewshot.sh", "dtd", "16", "1", "2")
    assert code == 0 and not err and len(calls) == 2
    assert all(value(call, "--output-dir") in printed for call in calls)


def test_progress_bar(monkeypatch, capsys):
    epoch = "epoch [1/2] batch [1/1] time 0 loss 1.5 (1.5) acc 50 (50)\n"
    monkeypatch.setattr("sys.argv", ["progress.py", "CLIPFit base, seed 1"])
    for lines, expected in (
        ([epoch], r"CLIPFit base, seed 1:  50%.*, epoch 1/2 loss 1.5$"),
        ([epoch, "* accuracy: 83.76%\n"], r"CLIPFit base, seed 1: 100%.*, accuracy 83.76%$"),
    ):
        monkeypatch.setattr("sys.stdin", iter(lines))
        progress.main()
        assert re.search(expected, capsys.readouterr().out.rstrip().split("\r")[-1].rstrip())

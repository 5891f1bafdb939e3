"""Runs, checkpoints, tuned weights and CoOp checkouts of an earlier revision still work.

They are in tests/fixtures/earlier, whose README says how they were made.
"""

import json
import shutil
import zipfile
from pathlib import Path

import pytest
import torch

import train
from tools import install_into_coop, report
from tools.coop_checkout.train_py import SOURCE
from trainers.common import load_tuned
from trainers.common.runs import checkpoint_file

EARLIER = Path(__file__).with_name("fixtures") / "earlier"
METHODS = {"base": "CLIPFit", "kg": "KgCoOp"}
ONE_IMAGE = 100 / 269  # in percent of the smaller test set: rounding on another processor may change one prediction


@pytest.fixture(scope="module")
def digits_root(tmp_path_factory):
    """A DATASET.ROOT with all test images of the digits, as accuracies of the earlier revision are compared."""
    return tmp_path_factory.mktemp("data")


def record(folder) -> dict:
    return json.loads((Path(folder) / "result.json").read_text())


def arguments(run: str, root, output) -> list[str]:
    """The command line of an earlier run, with another dataset root and output directory."""
    argv = record(EARLIER / run)["command"][1:]
    for flag, value in (("--root", root), ("--output-dir", output), ("--model-dir", EARLIER / "base")):
        if flag in argv:
            argv[argv.index(flag) + 1] = str(value)
    return argv


def run_train(argv: list[str], monkeypatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr("sys.stdout", __import__("sys").stdout)  # the logger replaces it
        assert train.main(argv) == 0


def test_a_checkpoint_is_evaluated(digits_root, tmp_path, monkeypatch):
    run_train(arguments("new", digits_root, tmp_path), monkeypatch)
    earlier, current = record(EARLIER / "new"), record(tmp_path)
    assert current["metrics"]["test"]["accuracy"] == pytest.approx(
        earlier["metrics"]["test"]["accuracy"], abs=ONE_IMAGE
    )
    assert current["source"]["settings"] == earlier["source"]["settings"] and current["source"]["epoch"] == 2


@pytest.mark.parametrize("run", METHODS)
def test_a_run_is_resumed(run, digits_root, tmp_path, monkeypatch, capsys):
    """The run is finished, so only its test is repeated. Other settings are still refused."""
    shutil.copytree(EARLIER / run, tmp_path / "run")
    argv = arguments(run, digits_root, tmp_path / "run")
    run_train(argv, monkeypatch)
    assert "Resuming after epoch 2" in capsys.readouterr().out
    earlier, current = record(EARLIER / run), record(tmp_path / "run")
    assert current["finished"] and current["identity"]["trainer"] == METHODS[run]
    assert current["metrics"]["test"]["accuracy"] == pytest.approx(
        earlier["metrics"]["test"]["accuracy"], abs=ONE_IMAGE
    )
    assert train.main([*argv, "OPTIM.LR", "0.5"]) == 1


@pytest.mark.parametrize("run", METHODS)
def test_tuned_weights_equal_the_checkpoint(run):
    (file,) = (EARLIER / run).rglob("tuned.safetensors")
    image = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    alone, whole = load_tuned(file), load_tuned(EARLIER / run)
    assert torch.equal(alone.predict(image).logits, whole.predict(image).logits)
    saved = checkpoint_file.read(str(file.with_name("model.pth.tar-2")))["state_dict"]
    assert all(torch.equal(tensor, whole.trainer.tuned.state_dict()[name]) for name, tensor in saved.items())


def test_records_are_reported(tmp_path, capsys):
    shutil.copytree(EARLIER, tmp_path / "runs")
    assert report.main([str(tmp_path / "runs" / name) for name in ("base", "new")] + ["--no-files"]) == 0
    printed = capsys.readouterr().out
    accuracies = [record(EARLIER / name)["metrics"]["test"]["accuracy"] for name in ("base", "new")]
    assert all(f"{accuracy:.2f}" in printed for accuracy in accuracies)


def test_a_coop_checkout_is_updated_and_uninstalled(tmp_path):
    checkout = tmp_path / "CoOp"
    for name in ("trainers", "datasets", "configs/datasets", "configs/trainers"):
        (checkout / name).mkdir(parents=True)
    (checkout / "trainers" / "coop.py").write_text("")
    (checkout / "train.py").write_text("import trainers.coop\nimport trainers.clipfit\n")
    with zipfile.ZipFile(EARLIER / "coop_checkout.zip") as archive:
        archive.extractall(checkout)
    assert install_into_coop.main([str(checkout)]) == 0
    installed, here = (folder / "trainers" / "common" for folder in (checkout, SOURCE))
    modules = [sorted(str(p.relative_to(folder)) for p in folder.rglob("*.py")) for folder in (installed, here)]
    assert modules[0] == modules[1]
    assert install_into_coop.main([str(checkout), "--uninstall"]) == 0
    assert sorted(str(p.relative_to(checkout)) for p in checkout.rglob("*") if p.is_file()) == [
        "train.py",
        "trainers/coop.py",
    ]
    assert (checkout / "train.py").read_text() == "import trainers.coop\n"

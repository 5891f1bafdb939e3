"""The few-shot script: one clear line for every mistake."""

import re
import subprocess

import pytest

from scripts import progress


def fewshot(*arguments):
    command = ["bash", "scripts/fewshot.sh", *arguments]
    run = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/usr/bin:/bin", "PYTHON": "false"})
    return run.returncode, run.stdout, run.stderr


@pytest.mark.parametrize(
    "arguments, message",
    [
        ((), "error: unknown method ''; there are: "),
        (("Adapter",), "error: unknown method 'Adapter'; there are: CLIPFit CLIP_Adapter"),
        (("CoOp", "imagenet1k"), "error: unknown dataset 'imagenet1k'; there are: caltech101"),
        (("CoOp", "dtd", "four"), "error: SHOTS must be a positive number, got four"),
        (("CoOp", "dtd", "4", "one"), "error: seeds are numbers, got 'one'"),
        (("CoOp", "dtd", "4", "--config", "rn50"), "error: unknown config 'rn50' for CoOp; there are: micro"),
        (("CoOp", "dtd", "4", "--dta", "x"), "error: unknown option --dta"),
        (("CoOp", "--data"), "error: --data needs a value"),
        (("CoOp", "dtd", "--targets", "x"), "error: --targets is for cross_dataset and domain_shift, not for fewshot"),
    ],
)
def test_mistakes(arguments, message):
    code, _, err = fewshot(*arguments)
    assert code == 2 and err.startswith(message) and len(err.splitlines()) == 1


def test_help():
    code, out, _ = fewshot("--help")
    assert code == 0 and out.startswith("Usage: bash scripts/fewshot.sh METHOD [DATASET] [SHOTS] [SEED ...]")


def test_progress_bar(monkeypatch, capsys):
    epoch = "epoch [1/2] batch [1/1] time 0 loss 1.5 (1.5) acc 50 (50)\n"
    monkeypatch.setattr("sys.argv", ["progress.py", "CoOp base, seed 1"])
    for lines, expected in (
        ([epoch], r"CoOp base, seed 1:  50%.*, epoch 1/2 loss 1.5$"),
        ([epoch, "* accuracy: 83.76%\n"], r"CoOp base, seed 1: 100%.*, accuracy 83.76%$"),
    ):
        monkeypatch.setattr("sys.stdin", iter(lines))
        progress.main()
        assert re.search(expected, capsys.readouterr().out.rstrip().split("\r")[-1].rstrip())

"""The benchmarks run on a tiny CLIP, time what they say, and extrapolate as their table says."""

import argparse
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path("benchmarks").resolve()))
import evaluation  # noqa: E402
import steps  # noqa: E402

from tests.trainers.conftest import tiny  # noqa: E402, F401  (a fixture)

ARGS = {"classes": [5], "size": "tiny", "batch": 2, "precision": "fp32", "rounds": 1}
CASES = [
    "plain image tower", "our image tower", "plain text", "our text", "plain step", "our step",
    "our step, checkpointing",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_case_is_a_training_step(case, tiny, monkeypatch):  # noqa: F811
    """The tuned tensors of the side that is timed, and no others, get a gradient."""
    found = {}
    for name in ("plain_clipfit", "our_clipfit"):
        make = getattr(steps, name)
        monkeypatch.setattr(steps, name, lambda *a, make=make: found.setdefault("it", make(*a)))
    steps.make_step(argparse.Namespace(case=case, weights=tiny, **ARGS))()
    plain = case.startswith("plain")
    tensors = found["it"].parameters if plain else dict(found["it"].tuned.named_parameters())
    with_gradient = {name for name, p in tensors.items() if p.grad is not None}
    expected = {
        name
        for name in tensors
        if "step" in case or name.startswith("visual.") == ("image" in case)
    }
    assert with_gradient == expected and len(expected) >= 3
    if "checkpointing" in case:
        assert found["it"].image_encoder.recompute and found["it"].text_encoder.recompute


def test_tables(capsys):
    args = argparse.Namespace(**{**ARGS, "classes": [100, 1000]})
    seconds = {
        ("plain image tower", 1): 10, ("our image tower", 1): 5, ("plain text", 50): 6, ("plain text", 100): 11,
        ("plain step", 100): 22, ("our text", 100): 1, ("our step", 100): 6, ("our text", 1000): 4,
        ("our step", 1000): 9,
    }  # fmt: skip
    found = {key: {"seconds": s, "mb": 1000 * s} for key, s in seconds.items()}
    steps.report_times(args, found)
    steps.report_ratios(args, found)
    lines = capsys.readouterr().out.splitlines()
    assert "| our step | 1,000 | 9 | 9,000 |" in lines
    assert "| text side: plain / ours | 11.0 | 25.2 * |" in lines  # 11 + (11 - 6) / 50 * 900 = 101
    assert "| step: plain / ours | 3.67 | 12.33 * |" in lines  # (101 + 10) / 9
    assert "| our step / our image tower | 1.20 | 1.80 |" in lines
    assert "| peak memory: ours / plain | 0.27 |  |" in lines
    assert lines[-1].startswith("\\* plain text side extrapolated linearly from 50 and 100 classes")


@pytest.mark.parametrize("case", evaluation.CASES)
def test_evaluation(case, tiny, capsys):  # noqa: F811
    args = argparse.Namespace(**{**ARGS, "classes": 5}, images=6, case=case, weights=tiny)
    result = evaluation.run(args)
    assert 0 < result["tower"] < result["seconds"] and result["mb"] > 100
    assert capsys.readouterr().out == ""  # the last line of a case's output is its result


def test_report_of_the_evaluation(capsys):
    args = argparse.Namespace(**{**ARGS, "classes": 1000, "batch": 100}, images=800)
    ours, plain = {"seconds": 82.0, "tower": 80.0, "mb": 1}, {"seconds": 100.0, "tower": 12.0, "mb": 1}
    evaluation.report(args, {"our evaluation": [ours], "plain batch": [plain]})
    out = capsys.readouterr().out
    assert "| plain batch | 100 | 12 | 1 | 1 |" in out
    assert "97.6 % of its image tower's throughput" in out and "9.8 times that of the plain evaluation" in out
    assert torch.is_grad_enabled()

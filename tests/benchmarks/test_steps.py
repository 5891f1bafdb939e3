"""The benchmarks run on a tiny CLIP, time the right parameters, and extrapolate correctly."""

import argparse
import sys
from pathlib import Path

import pytest
import torch

sys.path.insert(0, str(Path("benchmarks").resolve()))
import evaluation  # noqa: E402
import steps  # noqa: E402

from tests.benchmarks.tables import find_row, numbers  # noqa: E402

ARGS = {"classes": [5], "size": "tiny", "batch": 2, "precision": "fp32", "rounds": 1, "clock": "wall"}
CASES = [
    "plain image tower", "our image tower", "plain text", "our text", "plain step", "our step",
    "our step, checkpointing",
]  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_every_case_is_a_training_step(case, tiny, monkeypatch):
    """Exactly the tuned tensors of the timed side get a gradient."""
    created = {}
    for name in ("plain_clipfit", "our_clipfit"):
        make = getattr(steps, name)
        monkeypatch.setattr(steps, name, lambda *a, make=make: created.setdefault("model", make(*a)))
    steps.make_step(argparse.Namespace(case=case, weights=tiny, **ARGS))()
    plain = case.startswith("plain")
    tensors = created["model"].parameters if plain else dict(created["model"].tuned.named_parameters())
    with_gradient = {name for name, p in tensors.items() if p.grad is not None}
    expected = {name for name in tensors if "step" in case or name.startswith("visual.") == ("image" in case)}
    assert with_gradient == expected and len(expected) >= 3
    if "checkpointing" in case:
        assert created["model"].image_encoder.recompute and created["model"].text_encoder.recompute


def test_tables(capsys):
    args = argparse.Namespace(**{**ARGS, "classes": [100, 1000]}, plain=100, variants=[])
    seconds = {
        ("large product", 1): 1,
        ("plain image tower", 1): 10, ("our image tower", 1): 5, ("plain text", 50): 6, ("plain text", 100): 11,
        ("plain step", 100): 22, ("our text", 100): 1, ("our step", 100): 6, ("our text", 1000): 4,
        ("our step", 1000): 9,
    }  # fmt: skip
    results = {key: {"seconds": s, "mb": 1000 * s} for key, s in seconds.items()}
    assert set(steps.cases_of(args)) == set(results)
    steps.report_times(args, results)
    steps.report_ratios(args, results)
    out = capsys.readouterr().out
    assert numbers(find_row(out, "our step", "1,000")) == [1000, 9, 9000]
    text = find_row(out, "text side: plain / ours")
    assert numbers(text) == [11.0, 25.2]  # 11 + (11 - 6) / 50 * 900 = 101 s at 1,000 classes
    step = find_row(out, "step: plain / ours")
    assert numbers(step) == [3.67, 12.33]  # (101 + 10) / 9
    assert [cell.endswith("*") for cell in text[1:]] == [cell.endswith("*") for cell in step[1:]] == [False, True]
    assert numbers(find_row(out, "our step / our image tower")) == [1.2, 1.8]
    assert numbers(find_row(out, "peak memory: ours / plain")) == [0.27]
    assert out.splitlines()[-1].startswith("\\* ")  # explains the extrapolation


def test_ratios_without_the_plain_implementation_and_with_all_of_it():
    args = argparse.Namespace(**{**ARGS, "classes": [100, 1000]}, plain=0, variants=["no-graph"])
    assert not any("plain" in case for case, _ in steps.cases_of(args))
    assert ("our step, no-graph", 1000) in steps.cases_of(args)
    results = {key: {"seconds": 2.0, "mb": 1} for key in steps.cases_of(args)}
    assert steps.ratios(results, 1000) == {"our step / our image tower": "1.00"}
    args.plain = 1000
    assert ("plain step", 1000) in steps.cases_of(args) and ("plain text", 50) not in steps.cases_of(args)
    results = {key: {"seconds": 6.0 if "plain" in key[0] else 2.0, "mb": 1} for key in steps.cases_of(args)}
    assert steps.ratios(results, 1000)["step: plain / ours"] == "3.00"  # measured: without a star


@pytest.mark.parametrize("case", evaluation.CASES)
def test_evaluation(case, tiny, capsys):
    args = argparse.Namespace(**{**ARGS, "classes": 5}, images=6, case=case, weights=tiny)
    result = evaluation.run(args)
    assert 0 < result["tower"] < result["seconds"] and result["mb"] > 100
    assert capsys.readouterr().out == ""  # nothing may follow the JSON line that main() prints


def test_report_of_the_evaluation(capsys):
    args = argparse.Namespace(**{**ARGS, "classes": 1000, "batch": 100}, images=800)
    ours = {"seconds": 82.0, "tower": 80.0, "mb": 1}
    plain = {"seconds": 100.0, "tower": 12.0, "mb": 1}
    evaluation.report(args, {"our evaluation": [ours], "plain batch": [plain]})
    out = capsys.readouterr().out
    assert numbers(find_row(out, "plain batch")) == [100, 12, 1, 1]
    assert "97.6 %" in out and "9.8 times" in out  # share of the tower's throughput; speed-up over plain
    assert torch.is_grad_enabled()

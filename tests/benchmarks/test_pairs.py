"""The benchmark of training on captions runs on a tiny CLIP, with the same gradients in one part and in several."""

import argparse
import sys
from pathlib import Path

import torch

sys.path.insert(0, str(Path("benchmarks").resolve()))
import cases  # noqa: E402
import pairs  # noqa: E402

from tests.benchmarks.tables import find_row, numbers  # noqa: E402

ARGS = {"size": "tiny", "batch": 6, "precision": "fp32"}


def test_both_ways_compute_the_same_gradients(tiny, monkeypatch):
    sizes = []  # of the batches that the image encoder gets
    gradients = []
    for part in ("0", "2"):
        step = pairs.make_step(argparse.Namespace(**ARGS, case=part, weights=tiny))
        trainer = step()
        gradients.append([p.grad.clone() for p in trainer.tuned.parameters()])
        with monkeypatch.context() as patch:
            encode = trainer.encode_image
            patch.setattr(trainer, "encode_image", lambda image, of=encode: sizes.append(len(image)) or of(image))
            step()
    assert all(torch.allclose(a, b, atol=1e-5) for a, b in zip(*gradients, strict=True)) and len(gradients[0]) > 3
    assert any(g.abs().max() > 1e-3 for g in gradients[0])
    assert sizes == [6, *[2] * 6], "each part once more in the backward pass"


def test_times_and_table(capsys):
    result = cases.time_steps(lambda: sum(range(100_000)), torch.device("cpu"))
    assert 0 < result["seconds"] < 5 and 0 < result["cpu_seconds"] < 5 and result["mb"] > 10
    pairs.report(
        argparse.Namespace(**ARGS), {0: {**result, "mb": 3000}, 2: {"seconds": 2, "cpu_seconds": 1.5, "mb": 1000}}
    )
    out = capsys.readouterr().out
    assert numbers(find_row(out, "2")) == [2, 1.5, 1000] and numbers(find_row(out, "0"))[2] == 3000

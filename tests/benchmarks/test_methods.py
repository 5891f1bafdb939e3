"""The table of methods: each makes a step on its recipe's settings, and the paper's row stands beside ours."""

import argparse
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path("benchmarks").resolve()))
import methods  # noqa: E402

from tests.trainers.conftest import tiny  # noqa: E402, F401  (a fixture)

PUBLISHED = {"CLIPFit": 32, "CoOp": 32, "CoCoOp": 1, "KgCoOp": 128, "ProGrad": 32, "MaPLe": 4}  # batch sizes
ARGS = {"classes": 5, "size": "tiny", "precision": "fp32", "rounds": 1}


@pytest.mark.parametrize("method", methods.trained())
def test_a_step_of_every_method(method, tiny, capsys):  # noqa: F811
    opts = ["TRAINER.MAPLE.PROMPT_DEPTH", "2"] if method == "MaPLe" else []
    result = methods.run(argparse.Namespace(**ARGS, batch=None, case=method, weights=tiny, opts=opts))
    assert result["parameters"] > 0 and result["seconds"] > 0
    assert result["batch"] == PUBLISHED.get(method, result["batch"])
    if method == "CLIPFit":
        assert result["parameters"] == 3 * 128 + 6 * 2 * 128  # text biases; LayerNorms of two blocks, ln_pre, ln_post
    assert capsys.readouterr().out == ""  # the last line of a case's output is its result


def test_methods_without_a_step_are_left_out():
    assert {"CLIPFit", "TipAdapterF"} <= set(methods.trained())
    assert not {"ZeroshotCLIP", "ZeroshotCLIP2", "TipAdapter"} & set(methods.trained())


def test_table(capsys):
    result = {"parameters": 46080, "batch": 32, "seconds": 3.2, "mb": 4000}
    methods.report(argparse.Namespace(**ARGS), {"CLIPFit": [result], "CLIP_Adapter": [result]})
    lines = capsys.readouterr().out.splitlines()
    assert "| CLIPFit | 46,080 | 32 | 100 | 4,000 | 44k | 0.96ms |" in lines
    assert "| CLIP_Adapter | 46,080 | 32 | 100 | 4,000 |  |  |" in lines

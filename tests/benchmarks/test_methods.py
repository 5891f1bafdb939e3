"""The table of methods: one training step per method with its recipe, and the numbers of the paper next to ours."""

import argparse
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path("benchmarks").resolve()))
import methods  # noqa: E402

from dassl.engine import TRAINER_REGISTRY  # noqa: E402
from tests.benchmarks.tables import find_row, numbers  # noqa: E402

PUBLISHED = {"CLIPFit": 32, "CoOp": 32, "CoCoOp": 1, "KgCoOp": 128, "ProGrad": 32, "MaPLe": 4}  # batch sizes
SHALLOW = {  # the tiny CLIP has two blocks
    "IVLP": ["TRAINER.IVLP.PROMPT_DEPTH_VISION", "2", "TRAINER.IVLP.PROMPT_DEPTH_TEXT", "2"],
    "MaPLe": ["TRAINER.MAPLE.PROMPT_DEPTH", "2"],
    "MMA": ["TRAINER.MMA.ADAPTER_START", "1", "TRAINER.MMA.ADAPTER_END", "2"],
    "MMRL": ["TRAINER.MMRL.REP_LAYERS", "(2,)"],
    "MMRLPP": ["TRAINER.MMRLPP.REP_LAYERS", "(1, 2)"],
    "PromptSRC": ["TRAINER.PROMPTSRC.PROMPT_DEPTH_VISION", "2", "TRAINER.PROMPTSRC.PROMPT_DEPTH_TEXT", "2"],
    "SkipTuning": ["TRAINER.SKIP.TUNE", "('image_block:1', 'text_block:1', 'image_output', 'text_output')"],
    "TCP": ["TRAINER.TCP.LAYER", "2"],
}
ARGS = {"classes": 5, "size": "tiny", "precision": "fp32", "rounds": 1}


def is_ours(method: str) -> bool:
    """Whether a registered method is no toy of another test."""
    return TRAINER_REGISTRY.get(method).__module__.startswith("trainers.")


@pytest.mark.parametrize("method", [name for name in methods.trainable_methods() if is_ours(name)])
def test_one_training_step_per_method(method, tiny, capsys):
    opts = SHALLOW.get(method, [])
    result = methods.run(argparse.Namespace(**ARGS, batch=None, case=method, weights=tiny, opts=opts))
    assert result["parameters"] > 0 and result["seconds"] > 0
    assert result["batch"] == PUBLISHED.get(method, result["batch"])
    if method == "CLIPFit":
        assert result["parameters"] == 3 * 128 + 6 * 2 * 128  # text biases; LayerNorms of two blocks, ln_pre, ln_post
    assert capsys.readouterr().out == ""  # nothing may follow the JSON line that main() prints


def test_methods_without_training_are_skipped():
    assert {"CLIPFit", "TipAdapterF"} <= set(methods.trainable_methods())
    assert not {"ZeroshotCLIP", "ZeroshotCLIP2", "TipAdapter"} & set(methods.trainable_methods())


def test_table(capsys):
    result = {"parameters": 46080, "batch": 32, "seconds": 3.2, "mb": 4000}
    methods.report(argparse.Namespace(**ARGS), {"CLIPFit": [result], "CLIP_Adapter": [result]})
    out = capsys.readouterr().out
    # parameters, batch, ms per image, peak MB, and the two cells of the paper
    row = find_row(out, "CLIPFit")
    assert numbers(row[:5]) == [46080, 32, 100, 4000] and row[5:] == ["44k", "0.96ms"]
    row = find_row(out, "CLIP_Adapter")
    assert numbers(row[:5]) == [46080, 32, 100, 4000] and row[5:] == ["", ""]

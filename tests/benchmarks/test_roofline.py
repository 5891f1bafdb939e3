"""The roofline: its FLOPs are those that PyTorch counts in our step, less the few products that a step could avoid."""

import argparse
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path("benchmarks").resolve()))
import cases  # noqa: E402
import roofline  # noqa: E402
import steps  # noqa: E402

from tests.benchmarks.tables import find_row, numbers  # noqa: E402
from tests.reference.models import SIZES  # noqa: E402

BATCH, CLASSES = 3, 12  # class names "class 0 0 0", ..., all with the same number of tokens
CPU = torch.device("cpu")


def counted_flops(case: str, weights: str) -> int:
    """Returns the FLOPs of the matrix products of a step, as PyTorch counts them."""
    args = argparse.Namespace(
        case=case, weights=weights, classes=[CLASSES], size="tiny", batch=BATCH, precision="fp32", rounds=1
    )
    step = steps.make_step(args)
    step()  # computes the teacher's features and the constant activations
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        step()
    return counter.get_total_flops()


def test_flops_equal_those_that_pytorch_counts(tiny):
    dim, side, layers, width, patch, _, _, text_width, _, text_layers = SIZES["tiny"]
    packed = roofline.packed_prompts(cases.prompts(CLASSES))
    parts = roofline.step_flops(SIZES["tiny"], BATCH, packed)
    tokens = (side // patch) ** 2 + 1
    # Our step computes the queries of all tokens in the last block, forward and backward
    image = parts["image tower"] + 2 * 2 * BATCH * (tokens - 1) * width**2
    assert counted_flops("our image tower", tiny) == image
    # and in the text encoder the attention of all tokens, and to tokens that the mask excludes
    rows, ((n, length),) = len(packed.tokens), packed.groups
    all_pairs = packed.prefix**2 + n * length * (packed.prefix + length)
    needed = roofline.causal_pairs(packed) * (text_layers - 2) + n * (packed.prefix + length)
    text = parts["text"] + 2 * 2 * (rows - CLASSES) * text_width**2
    text += 3 * 4 * text_width * (all_pairs * (text_layers - 1) - needed)
    assert counted_flops("our text", tiny) == text
    assert counted_flops("our step", tiny) == image + text + parts["logits"]
    assert sum(parts.values()) > 0.85 * (image + text + parts["logits"])


def test_causal_pairs():
    packed = roofline.packed_prompts(["a cat.", "a dog.", "a red fire truck."])
    packed = replace(packed, prefix=2, groups=((2, 3), (1, 5)))
    assert roofline.causal_pairs(packed) == 3 + 2 * (3 * 2 + 6) + (5 * 2 + 15)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_large_product_has_its_precision_and_flops(precision, monkeypatch):
    monkeypatch.setitem(roofline.SIDES, "cpu", 64)
    product = roofline.large_product(CPU, roofline.dtype_of(precision, CPU))
    assert product().dtype == roofline.dtype_of(precision, CPU)
    with FlopCounterMode(display=False) as counter:
        product()
    assert counter.get_total_flops() == roofline.product_flops(CPU) == 2 * 64**3


def test_table(capsys):
    args = argparse.Namespace(classes=[10, 100], size="ViT-B/16", batch=32, precision="fp32", variants=[], plain=0)
    results = {key: {"seconds": 10.0, "mb": 1} for key in steps.cases_of(args)}
    flops = roofline.product_flops(CPU)
    results["large product", 1] = {"seconds": flops / 1e12, "mb": 1}  # 1 TFLOP/s
    roofline.report(args, results, steps.PRODUCT)
    out = capsys.readouterr().out
    gflop, seconds, multiple = numbers(find_row(out, "our step", "100")[1:])
    assert seconds == pytest.approx(gflop / 1000, rel=0.01) and multiple == pytest.approx(10 / seconds, rel=0.01)
    image = numbers(find_row(out, "our image tower"))[0]
    # 17.6 G multiplications per image forward (86 M weights, 197 tokens), as many backward, 5 % less in the last block
    assert image == pytest.approx(32 * 2 * 17.6 * 2 * 0.95, rel=0.05)


def test_resnets_have_no_roofline(capsys):
    roofline.report(argparse.Namespace(size="RN50"), {}, steps.PRODUCT)
    assert "RN50" in capsys.readouterr().out


def test_tables_name_the_instruction_set_and_the_library_of_products():
    line = cases.machine()
    assert torch.backends.cpu.get_cpu_capability() in line and torch.__version__ in line
    assert "products on the CPU: mkl" in line  # tests fix it

"""The block, its activation, LayerNorm and matrix products against CLIP's own modules with plain autograd."""

import copy

import pytest
import torch
from clip.model import LayerNorm, QuickGELU
from torch.autograd.graph import saved_tensors_hooks

from tests.reference.models import random_clip
from trainers.common import cpu_products
from trainers.common.models import blocks
from trainers.common.models.blocks import layer_norm, linear, quick_gelu, run_block
from trainers.common.models.image import attend_all, attend_first

CLIP = random_clip("tiny")
TYPES = [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)]


def normal(*shape, seed=0, dtype=torch.float32):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).to(dtype)


@pytest.mark.parametrize(("dtype", "rtol"), TYPES)
def test_quick_gelu(dtype, rtol):
    x, grad = 3 * normal(1000, dtype=dtype), normal(1000, seed=1, dtype=dtype)
    results = []
    for function in (QuickGELU(), quick_gelu):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        y.backward(grad)
        results.append((y.detach(), leaf.grad))
    (plain, plain_grad), (lean, lean_grad) = results
    assert torch.equal(plain, lean)
    assert torch.allclose(plain_grad, lean_grad, rtol=rtol, atol=rtol)


def test_gradcheck_of_quick_gelu():
    x = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(quick_gelu, (x,))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16, torch.bfloat16])
def test_layer_norm(dtype):
    plain = LayerNorm(64)
    plain.weight.data, plain.bias.data = normal(64, seed=1), normal(64, seed=2)
    x = normal(3, 5, 64, dtype=dtype)
    ours = layer_norm(x, plain.weight, plain.bias)
    assert ours.dtype == dtype and torch.equal(ours, plain(x))


@pytest.fixture
def onednn(monkeypatch):
    """Uses oneDNN for fp32 products with a frozen matrix of any size."""
    if cpu_products._ONEDNN is None:
        pytest.skip("this build of PyTorch has no oneDNN")
    monkeypatch.setattr(blocks, "ONEDNN_FROM", 0)
    monkeypatch.setattr(cpu_products, "_chosen", frozenset(cpu_products.KINDS))


@pytest.mark.parametrize("shape", [(7, 24), (2, 5, 24), (1, 1, 24), (2, 24, 5)])
def test_product_by_onednn(onednn, shape):
    """The last shape is a transposed view, whose rows are not contiguous."""
    weight, results = normal(40, 24, seed=1), []
    for function in (torch.nn.functional.linear, linear):
        x, bias = normal(*shape).requires_grad_(), normal(40, seed=2).requires_grad_()
        y = function(x.transpose(1, 2) if shape[-1] != 24 else x, weight, bias)
        y.backward(normal(*y.shape, seed=3))
        results.append((y, x.grad, bias.grad))
    assert "_Linear" in type(results[1][0].grad_fn).__name__
    for plain, ours in zip(*results, strict=True):
        assert torch.allclose(plain, ours, rtol=1e-5, atol=1e-5)


def test_products_that_do_not_use_onednn(onednn):
    x, weight = normal(4, 24), normal(40, 24)
    assert blocks.is_large_product(x, weight)
    assert not blocks.is_large_product(x, weight.requires_grad_())  # a tuned matrix needs its gradient
    assert not blocks.is_large_product(x.half(), weight.detach().half())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert not blocks.is_large_product(x, weight.detach())


def test_small_products_do_not_use_onednn():
    assert not blocks.is_large_product(normal(4, 24), normal(40, 24))


@pytest.mark.parametrize("recompute", [False, True])
def test_block_equals_clips_own(recompute):
    weights, results = normal(2, 6, 128, seed=1), []
    for ours in (False, True):
        block = copy.deepcopy(CLIP.visual.transformer.resblocks[0]).requires_grad_(True)
        x = normal(2, 6, 128).requires_grad_()
        if ours:
            y = run_block(block, x, attend_all, recompute=recompute)
        else:
            y = block(x.transpose(0, 1)).transpose(0, 1)
        (y * weights).sum().backward()
        results.append([y.detach(), x.grad, *(p.grad for p in block.parameters())])
    for plain, own in zip(*results, strict=True):
        assert torch.allclose(plain, own, rtol=1e-5, atol=1e-5 * plain.abs().max())


def test_selected_rows():
    block, x = CLIP.visual.transformer.resblocks[0], normal(2, 6, 128)
    with torch.no_grad():
        whole, first = run_block(block, x, attend_all), run_block(block, x, attend_first, slice(0, 1))
    assert first.shape == (2, 1, 128) and torch.allclose(whole[:, :1], first, atol=1e-5)


def kept_bytes(run) -> int:
    kept = {}
    with saved_tensors_hooks(lambda t: kept.update({t.data_ptr(): t.nbytes}) or t, lambda t: t):
        run()
    return sum(kept.values())


def test_a_block_saves_fewer_activations_than_clips_own_and_with_checkpointing_only_its_input():
    block = CLIP.visual.transformer.resblocks[0]
    x = normal(8, 50, 128).requires_grad_()
    plain = kept_bytes(lambda: block(x.transpose(0, 1)))
    lean = kept_bytes(lambda: run_block(block, x, attend_all))
    least = kept_bytes(lambda: run_block(block, x, attend_all, recompute=True))
    gate = 8 * 50 * 4 * 128 * 4  # images, tokens, FFN width, bytes
    frozen = sum(p.nbytes for p in block.parameters())
    assert plain - lean >= gate
    assert least <= x.nbytes + frozen

"""One residual attention block of CLIP with frozen matrices, as the text and the image encoder run it.

The arithmetic is that of `clip.model.ResidualAttentionBlock`, batch first. What differs is its cost: rows that nobody
reads are not computed, QuickGELU keeps one tensor for its backward pass instead of two, a block may keep nothing but
its input (activation checkpointing), and large fp32 products on a CPU go to oneDNN, which comes with PyTorch and is
nearly twice as fast as MKL on some processors (AMD's).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from ..compat import autocast_on_cpu, is_compiling

SLOPE = 1.702  # of QuickGELU
PARAMETERS = (
    "ln_1.weight", "ln_1.bias", "attn.in_proj_weight", "attn.in_proj_bias",
    "attn.out_proj.weight", "attn.out_proj.bias", "ln_2.weight", "ln_2.bias",
    "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias",
)  # fmt: skip
_ONEDNN = getattr(torch.ops.mkldnn, "_linear_pointwise", None) if torch.backends.mkldnn.is_available() else None
ONEDNN_FROM = 2**26  # multiplications below which the detour costs more than it gains


def run_block(block, x: torch.Tensor, attend: Callable, only=None, recompute=False, compiled=False) -> torch.Tensor:
    """A residual attention block on x (B, T, d).

    Args:
        attend: (qkv (B, T, 3d), number of heads) -> (B, T, d), or (B, n, d) for the n rows in `only`.
        only: rows whose output is wanted, as an index of dimension 1; None: all T.
        recompute: keep x alone for the backward pass, which then computes the block once more.
        compiled: by `torch.compile`, in training; evaluations have batches of several sizes, each to be compiled anew.

    Returns:
        (B, T, d), or (B, n, d).
    """
    # Read now: when a block is recomputed, the tuned ones are no longer in place.
    p = dict(zip(PARAMETERS, attrgetter(*PARAMETERS)(block)))
    halves = compiled_halves() if compiled and torch.is_grad_enabled() else (_before, _after)
    arguments = (x, p, block.attn.num_heads, attend, only, halves)
    if recompute and torch.is_grad_enabled():
        return checkpoint(_block, *arguments, use_reentrant=False, preserve_rng_state=False)
    return _block(*arguments)


def _block(x, p: dict[str, torch.Tensor], heads: int, attend: Callable, only, halves) -> torch.Tensor:
    before, after = halves
    y = attend(before(x, p), heads)
    return after(x if only is None else x[:, only], y, p)


def _before(x, p: dict[str, torch.Tensor]) -> torch.Tensor:
    y = layer_norm(x, p["ln_1.weight"], p["ln_1.bias"])
    return linear(y, p["attn.in_proj_weight"], p["attn.in_proj_bias"])


def _after(x, y, p: dict[str, torch.Tensor]) -> torch.Tensor:
    x = x + linear(y, p["attn.out_proj.weight"], p["attn.out_proj.bias"])
    y = layer_norm(x, p["ln_2.weight"], p["ln_2.bias"])
    y = quick_gelu(linear(y, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]))  # (B, T, 4d)
    return x + linear(y, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])


@lru_cache(maxsize=None)
def compiled_halves() -> tuple[Callable, Callable]:
    """What comes before and after attention, compiled once for all blocks; attention is one kernel of PyTorch's."""
    return torch.compile(_before), torch.compile(_after)


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Over the last dimension, in fp32 at every precision, as CLIP's own."""
    return F.layer_norm(x.float(), x.shape[-1:], weight, bias).to(x.dtype)


class _QuickGELU(torch.autograd.Function):
    """Plain autograd would keep x and its sigmoid, the largest activations of a block."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (SLOPE * x).sigmoid_().mul_(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        # x s(cx) = silu(cx) / c, so that its derivative is silu'(cx), which PyTorch computes in one pass
        return torch.ops.aten.silu_backward(grad, SLOPE * x)


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """x * sigmoid(1.702 x), elementwise; the values and gradients of `clip.model.QuickGELU`."""
    return _QuickGELU.apply(x)


class _OneDNNLinear(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(weight)
        return _ONEDNN(x.contiguous(), weight, bias, "none", [], "")

    @staticmethod
    def backward(ctx, grad):
        (weight,) = ctx.saved_tensors
        grad_x = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = _ONEDNN(grad.contiguous(), weight.t(), None, "none", [], "")
        if ctx.needs_input_grad[2]:
            grad_bias = grad.flatten(0, -2).sum(0)
        return grad_x, None, grad_bias


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """x (..., n_in) times the matrix (n_out, n_in), plus the bias (n_out,)."""
    if uses_onednn(x, weight):
        return _OneDNNLinear.apply(x, weight, bias)
    return F.linear(x, weight, bias)


def uses_onednn(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether `linear` takes the detour: large, fp32, on the CPU, with a frozen matrix."""
    return (
        _ONEDNN is not None
        and not is_compiling()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not weight.requires_grad
        and not autocast_on_cpu()
        and x.numel() * weight.shape[0] >= ONEDNN_FROM
    )

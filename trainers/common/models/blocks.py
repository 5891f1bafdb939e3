"""A residual attention block of CLIP, for the text and the image encoder.

Computes the same as `clip.model.ResidualAttentionBlock`, batch first, at a lower cost:

- Output rows that are never read are not computed.
- QuickGELU saves one tensor for the backward pass instead of two. Blocks with another activation use PyTorch's.
- Activation checkpointing saves only the input of a block.
- Large fp32 matrix products on a CPU use the faster one of two libraries (`cpu_products.py`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial
from operator import attrgetter

import torch
import torch.nn.functional as F
from torch.utils.checkpoint import checkpoint

from .. import cpu_products
from ..compat import autocast_on_cpu, is_compiling
from . import linear_terms
from .insertions import PARALLEL, Inserted, insert

SLOPE = 1.702  # of QuickGELU
PARAMETERS = (
    "ln_1.weight", "ln_1.bias", "attn.in_proj_weight", "attn.in_proj_bias",
    "attn.out_proj.weight", "attn.out_proj.bias", "ln_2.weight", "ln_2.bias",
    "mlp.c_fc.weight", "mlp.c_fc.bias", "mlp.c_proj.weight", "mlp.c_proj.bias",
)  # fmt: skip
ONEDNN_FROM = 2**26  # number of multiplications from which oneDNN can be faster


def run_block(
    block,
    x: torch.Tensor,
    attend: Callable,
    rows=None,
    recompute=False,
    compiled=False,
    inserted: dict[str, Inserted] | None = None,
) -> torch.Tensor:
    """Runs a residual attention block on x (B, T, d).

    Args:
        attend: (qkv (B, T, 3d), number of heads) -> (B, T, d), or (B, n, d) for the n rows in `rows`.
        rows: rows to return, as an index of dimension 1; None: all T.
        recompute: activation checkpointing: save only x; the backward pass recomputes the block.
        compiled: use `torch.compile` in training. Evaluation is not compiled: each new batch size would recompile.
            Neither is a pass with `linear_terms`, which are found by the identity of the weights.
        inserted: what is inserted, by place.

    Returns:
        (B, T, d), or (B, n, d).
    """
    # Read the parameters now: during recomputation, functional_call no longer substitutes the tuned ones.
    p = dict(zip(PARAMETERS, attrgetter(*PARAMETERS)(block)))
    terms = linear_terms.current()
    halves = compiled_halves() if compiled and torch.is_grad_enabled() and not terms else (_before, _after)
    activate = F.gelu if isinstance(block.mlp.gelu, torch.nn.GELU) else quick_gelu
    arguments = (x, p, block.attn.num_heads, attend, rows, halves, activate, inserted or {})
    if recompute and torch.is_grad_enabled():
        block_again = partial(_block_with_terms, terms) if terms else _block
        return checkpoint(block_again, *arguments, use_reentrant=False, preserve_rng_state=bool(terms))
    return _block(*arguments)


def _block_with_terms(terms: linear_terms.Terms, *arguments) -> torch.Tensor:
    with linear_terms.using(terms):
        return _block(*arguments)


def _block(x, p: dict[str, torch.Tensor], heads: int, attend, rows, halves, activate, inserted) -> torch.Tensor:
    before, after = halves
    y = attend(before(x, p), heads)
    return after(x if rows is None else x[:, rows], y, p, activate, inserted)


def _before(x, p: dict[str, torch.Tensor]) -> torch.Tensor:
    """Applies LayerNorm and the projection to queries, keys and values: (B, T, d) -> (B, T, 3d)."""
    y = layer_norm(x, p["ln_1.weight"], p["ln_1.bias"])
    return linear(y, p["attn.in_proj_weight"], p["attn.in_proj_bias"])


def _after(x, y, p: dict[str, torch.Tensor], activate: Callable, inserted: dict[str, Inserted]) -> torch.Tensor:
    """Applies the output projection to the attention output y, then both residual additions and the FFN."""
    parallel = None
    if PARALLEL in inserted:
        parallel = insert(inserted, PARALLEL, layer_norm(x, p["ln_1.weight"], p["ln_1.bias"]))
    y = linear(y, p["attn.out_proj.weight"], p["attn.out_proj.bias"])
    x = x + insert(inserted, "after_attention", y)
    y = layer_norm(x, p["ln_2.weight"], p["ln_2.bias"])
    y = activate(linear(y, p["mlp.c_fc.weight"], p["mlp.c_fc.bias"]))  # (B, T, 4d)
    y = linear(y, p["mlp.c_proj.weight"], p["mlp.c_proj.bias"])
    x = x + insert(inserted, "after_ffn", y)
    return x if parallel is None else x + parallel


@lru_cache(maxsize=None)
def compiled_halves() -> tuple[Callable, Callable]:
    """Returns `_before` and `_after`, compiled once for all blocks. Attention is a single PyTorch kernel already."""
    return torch.compile(_before), torch.compile(_after)


def layer_norm(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Applies LayerNorm over the last dimension, in fp32 at every precision, as in CLIP."""
    return F.layer_norm(x.float(), x.shape[-1:], weight, bias).to(x.dtype)


class _QuickGELU(torch.autograd.Function):
    """Saves x only. Plain autograd saves x and its sigmoid, the largest activations of a block."""

    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return (SLOPE * x).sigmoid_().mul_(x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        # x sigmoid(cx) = silu(cx) / c, so the derivative is silu'(cx), which PyTorch computes in one kernel
        return torch.ops.aten.silu_backward(grad, SLOPE * x)


def quick_gelu(x: torch.Tensor) -> torch.Tensor:
    """Returns x * sigmoid(1.702 x), elementwise. Values and gradients equal those of `clip.model.QuickGELU`."""
    return _QuickGELU.apply(x)


class _Linear(torch.autograd.Function):
    """A linear layer, each direction computed by the library that is chosen for it."""

    @staticmethod
    def forward(ctx, x, weight, bias):
        ctx.save_for_backward(weight)
        return cpu_products.linear("forward", x, weight, bias)

    @staticmethod
    def backward(ctx, grad):
        (weight,) = ctx.saved_tensors
        grad_x = grad_bias = None
        if ctx.needs_input_grad[0]:
            grad_x = cpu_products.linear("backward", grad, weight.t())
        if ctx.needs_input_grad[2]:
            grad_bias = grad.flatten(0, -2).sum(0)
        return grad_x, None, grad_bias


def linear(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """Returns x (..., n_in) times the transpose of `weight` (n_out, n_in), plus `bias` (n_out,)."""
    if is_large_product(x, weight) and cpu_products.involves_onednn(weight):
        return linear_terms.add(_Linear.apply(x, weight, bias), x, weight)
    return F.linear(x, weight, bias)


def is_large_product(x: torch.Tensor, weight: torch.Tensor) -> bool:
    """Whether oneDNN may compute a product: a large one in fp32 on the CPU, by a matrix that needs no gradient."""
    return (
        not is_compiling()
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not (weight.requires_grad and torch.is_grad_enabled())
        and not autocast_on_cpu()
        and x.numel() * weight.shape[0] >= ONEDNN_FROM
    )

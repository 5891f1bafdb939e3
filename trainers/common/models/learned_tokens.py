"""Learned tokens at the blocks of another library's encoders, inserted by hooks for the duration of a forward pass.

A block gets its input with the learned tokens in it; nothing of the library is rewritten, and without learned tokens
there are no hooks. `obstacle` tells which image encoders cannot have them.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import torch
from torch import nn

from ..compat import functional_call
from .packed_prompts import replace_rows


@contextmanager
def image_tokens(blocks: list[nn.Module], prompts, norm: nn.Module | None):
    """Within this context, the image encoder with these blocks has learned tokens.

    `prompts[i]` (n_ctx, D) are appended to the input of block i. They replace the outputs of the learned tokens of
    block i - 1. After the last block they are removed, so pooling sees as many tokens as without them.

    `norm` is the LayerNorm before the first block (`ln_pre`), if there is one. OpenAI's ViT normalises the first
    learned tokens together with the others, and so does this: LayerNorm works on each token alone, so it can be called
    for the learned ones here.
    """

    def insert(i, block, args):
        x = tokens_second(block, args[0])  # (B, T, D)
        tokens = prompts[i].to(x.dtype)
        if i == 0:
            tokens = tokens if norm is None else norm(tokens)
        else:
            x = x[:, : x.shape[1] - prompts[i - 1].shape[-2]]
        x = torch.cat([x, tokens.expand(x.shape[0], -1, -1)], dim=1)
        return (tokens_second(block, x), *args[1:])

    def remove(block, args, output):
        x = output[0] if isinstance(output, tuple) else output
        x = tokens_second(block, x)
        x = tokens_second(block, x[:, : x.shape[1] - prompts[-1].shape[-2]])
        return (x, *output[1:]) if isinstance(output, tuple) else x

    handles = [block.register_forward_pre_hook(partial(insert, i)) for i, block in enumerate(blocks[: len(prompts)])]
    if prompts:
        handles.append(blocks[-1].register_forward_hook(remove))
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


@contextmanager
def text_tokens(blocks: list[nn.Module], packed, deep):
    """Within this context, learned tokens of a text encoder are replaced before the blocks after the first.

    Args:
        packed: the prompts, (n, L) tokens, with `learned_rows` and `learned_index`.
        deep: tensors (n_ctx, d) or (B, n_ctx, d). The i-th replaces the learned tokens before block i + 1. None
            replaces nothing.
    """
    length = packed.tokens.numel() // packed.n

    def insert(prompts, block, args):
        x = tokens_second(block, args[0])  # (B n, L, d); longer with a class token at the end, as in CoCa
        rows = packed.learned_rows
        rows = rows // length * x.shape[1] + rows % length
        flat = x.reshape(-1, packed.n * x.shape[1], x.shape[2])  # (B, n L, d)
        x = replace_rows(flat, rows, packed.learned_index, prompts).view_as(x)
        return (tokens_second(block, x), *args[1:])

    pairs = zip(deep, blocks[1:])
    pairs = ((prompts, block) for prompts, block in pairs if prompts is not None)
    handles = [block.register_forward_pre_hook(partial(insert, prompts)) for prompts, block in pairs]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def tokens_second(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Returns the input or output of a block as (B, T, D), and back. Older open_clip has (T, B, D)."""
    tokens_first = any(getattr(module, "batch_first", True) is False for module in block.modules())
    return x.transpose(0, 1) if tokens_first else x


@torch.no_grad()
def obstacle(encoder: nn.Module, side: int, dtype: torch.dtype) -> str:
    """Returns why an image encoder cannot have learned tokens; "" if it can.

    Tries it on the device "meta", which computes shapes only and needs no weights.

    Args:
        encoder: with `blocks` and `forward(image, prompts)`, such as `library.LibraryImage`.
        side: of its images, in pixels.
        dtype: of its images.
    """
    if not encoder.blocks:
        return "its image encoder has no transformer blocks"
    tensors = [*encoder.named_parameters(), *encoder.named_buffers()]
    meta = {name: torch.empty_like(tensor, device="meta") for name, tensor in tensors}
    image = torch.empty(1, 3, side, side, dtype=dtype, device="meta")
    shapes = []
    handle = encoder.blocks[0].register_forward_pre_hook(lambda block, args: shapes.append(args[0].shape))
    try:
        features = functional_call(encoder, meta, (image,))
    finally:
        handle.remove()
    if len(shapes[0]) != 3:
        return "the blocks of its image encoder take a grid of patches (windows or convolutions)"
    prompts = [torch.empty(1, shapes[0][2], dtype=dtype, device="meta")] * len(encoder.blocks)
    try:
        with_tokens = functional_call(encoder, meta, (image, prompts))
    except (RuntimeError, ValueError, IndexError, AssertionError):  # shapes that do not fit
        with_tokens = None
    if with_tokens is None or with_tokens.shape != features.shape:
        return "the blocks of its image encoder take a fixed number of tokens (rotary or relative positions)"
    return ""

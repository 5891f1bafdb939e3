"""CLIP's text encoder, exact, computing each token once.

Why the result equals OpenAI's encoder on 77 padded tokens: attention is causal, so a token sees only what stands
before it, and the feature is read at the end-of-text token. Hence

- tokens after the end-of-text change nothing and are left out;
- tokens that begin every prompt ("a photo of a") have the same activations in every class and are computed once;
- after the last block only the end-of-text token is read, so only it passes that block's query and FFN;
- what comes before the first tuned parameter is a constant of the prompts and computed once (`constant_start`).

The tokens are packed without padding into one matrix x (B, T, d): first the P tokens of the shared prefix, then the
remaining tokens of every class, classes of equal length next to each other. Everything but attention works on rows of
x. B is 1 unless the prompts depend on the image (CoCoOp).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ..compat import attention
from .blocks import run_block
from .packed_prompts import PackedPrompts


@dataclass(frozen=True)
class Start:
    """Activations that no tuned parameter changes: where the encoder can begin.

    Attributes:
        blocks: number of blocks that are done.
        x: (1, T, d) after them; (1, n, d) if these are all blocks.
        bias: (d,) the last of them added as its FFN's output bias, in case that one is tuned.
    """

    blocks: int
    x: torch.Tensor
    bias: torch.Tensor


class TextEncoder(nn.Module):
    """Text features of packed prompts; shares the modules of the CLIP that it is made from."""

    recompute = False  # activation checkpointing

    def __init__(self, clip_model: nn.Module):
        super().__init__()
        self.token_embedding = clip_model.token_embedding
        self.positional_embedding = clip_model.positional_embedding
        self.transformer = clip_model.transformer
        self.ln_final = clip_model.ln_final
        self.text_projection = clip_model.text_projection

    def embed(self, packed: PackedPrompts) -> torch.Tensor:
        """Word embeddings of the packed tokens: (1, T, d), without positions, in the type of CLIP's matrices."""
        return self.token_embedding(packed.tokens)[None].to(self.text_projection.dtype)

    def forward(self, packed: PackedPrompts, x: torch.Tensor | None = None, deep=(), start: Start | None = None):
        """Encode prompts.

        Args:
            packed: from `pack`, on the encoder's device.
            x: (B, T, d) embeddings with learned tokens in their rows; None: the words' own.
            deep: pairs of tensors (n_ctx, d): the i-th replaces rows 1..n_ctx before block i + 1 (MaPLe).
            start: from `constant_start` for these prompts, in the place of `x`.

        Returns:
            (n, E) features, not normalised; (B, n, E) where x was given.
        """
        words_only = x is None
        if start is not None:
            x = start.x
            if start.blocks:
                x = x + (self.transformer.resblocks[start.blocks - 1].mlp.c_proj.bias - start.bias)
        else:
            x = self.embed(packed) if words_only else x
            x = x + self.positional_embedding[packed.positions].to(x.dtype)
        x = self.run_blocks(x, packed, start.blocks if start else 0, deep=deep)
        features = self.ln_final(x) @ self.text_projection
        return features[0] if words_only else features

    def run_blocks(self, x: torch.Tensor, packed: PackedPrompts, first: int = 0, end: int | None = None, deep=()):
        """x (B, T, d) through blocks `first` to `end` - 1; (B, n, d) after the last block."""
        blocks = list(self.transformer.resblocks)
        for i in range(first, len(blocks) if end is None else end):
            if 0 < i <= len(deep):
                x = replace_rows(x, 1, deep[i - 1])
            only = packed.eot_rows if i == len(blocks) - 1 else None
            how = partial(attend, packed=packed, only=only)
            x = run_block(blocks[i], x, how, only, recompute=self.recompute)
        return x

    @torch.no_grad()
    def constant_start(self, packed: PackedPrompts, tuned: list[str]) -> Start:
        """What can be computed once, as the parameters named in `tuned` are the only ones that change.

        These are the blocks before the first tuned parameter. Of a block in which only the FFN's output bias is tuned,
        everything but the addition of that bias is constant as well.
        """
        tuned_in = [
            {name[len(prefix) :] for name in tuned if name.startswith(prefix)}
            for prefix in (f"transformer.resblocks.{i}." for i in range(len(self.transformer.resblocks)))
        ]
        blocks = next((i for i, names in enumerate(tuned_in) if names), len(tuned_in))
        if blocks < len(tuned_in) and tuned_in[blocks] == {"mlp.c_proj.bias"}:
            blocks += 1
        x = self.embed(packed)
        x = self.run_blocks(x + self.positional_embedding[packed.positions].to(x.dtype), packed, end=blocks)
        return Start(blocks, x, self.transformer.resblocks[max(blocks - 1, 0)].mlp.c_proj.bias.detach().clone())


def replace_rows(x: torch.Tensor, start: int, rows: torch.Tensor) -> torch.Tensor:
    """x (B, T, d) with rows (n, d) or (B, n, d) in place of x[:, start : start + n]."""
    rows = rows.to(x.dtype).expand(x.shape[0], -1, -1)
    return torch.cat([x[:, :start], rows, x[:, start + rows.shape[1] :]], dim=1)


def attend(qkv: torch.Tensor, heads: int, packed: PackedPrompts, only: torch.Tensor | None = None) -> torch.Tensor:
    """Causal attention among the packed tokens: (B, T, 3d) -> (B, T, d), or the rows `only` of it.

    The prefix attends to itself; the tokens of a class to the prefix and to their own predecessors.
    """
    B, _, width = qkv.shape
    P, d = packed.prefix, width // 3
    qkv = qkv.unflatten(-1, (3, heads, d // heads))  # (B, T, 3, h, d/h)
    prefix = qkv[:, :P].permute(2, 0, 3, 1, 4)  # (3, B, h, P, d/h)
    outputs = [attention(*prefix, is_causal=True).transpose(1, 2).reshape(B, P, d)] if P else []
    start = P
    for (n, length), mask in zip(packed.groups, packed.attention_masks):
        own = qkv[:, start : start + n * length].unflatten(1, (n, length))  # (B, n, s, 3, h, d/h)
        own = own.permute(3, 0, 1, 4, 2, 5)  # (3, B, n, h, s, d/h)
        q, kv = own[0], own[1:]
        if P:
            kv = torch.cat([prefix[1:, :, None].expand(-1, -1, n, -1, -1, -1), kv], dim=4)  # (2, B, n, h, P + s, d/h)
        y = attention(q.flatten(0, 1), *kv.flatten(1, 2), attn_mask=mask)  # (B n, h, s, d/h)
        outputs.append(y.transpose(1, 2).reshape(B, n * length, d))
        start += n * length
    y = torch.cat(outputs, dim=1)
    return y if only is None else y[:, only]

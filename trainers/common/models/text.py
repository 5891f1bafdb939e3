"""CLIP's text encoder with the same output, without padding and without computing a token twice.

The result equals that of OpenAI's encoder on prompts padded to 77 tokens, because attention is causal (a token attends
to itself and its predecessors) and the feature is read at the end-of-text token:

- Tokens after the end of text have no effect and are dropped.
- Tokens that all prompts start with ("a photo of a") have the same activations in every class and are computed once.
- After the last block only the end-of-text token is read, so the last FFN is computed for that token only.
- Activations before the first tuned parameter are constant and computed once (`constant_start`).

The tokens are packed without padding into one matrix x (B, T, d); `packed_prompts.pack` has an example. All operations
but attention work on the rows of x. B is 1 unless the prompts depend on the image (CoCoOp).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import partial

import torch
from torch import nn

from ..compat import attention, functional_call
from .blocks import run_block
from .insertions import Insertions, insert_tokens
from .packed_prompts import PackedPrompts, pack, pack_equal, replace_rows, trim, with_tokens
from .tokenizers import OpenAITokenizer

INPUTS = {"token_embedding.weight", "positional_embedding"}  # parameters before the first block


@dataclass(frozen=True)
class Start:
    """Constant activations: the encoder can start from them.

    Attributes:
        blocks: number of blocks they have passed.
        x: the activations after these blocks: (1, T, d), or (1, n, d) after the last block.
        bias: (d,) FFN output bias of the last of these blocks, which is contained in `x`. If that bias is tuned,
            `forward` adds the difference to its current value.
    """

    blocks: int
    x: torch.Tensor
    bias: torch.Tensor


class TextEncoder(nn.Module):
    """Computes text features of packed prompts. Shares the modules of the CLIP it is built from."""

    recompute = False  # activation checkpointing
    causal = True
    embedding = "token_embedding"  # its name in CLIP
    tokenizer = OpenAITokenizer()
    pack = staticmethod(pack)
    pack_equal = staticmethod(pack_equal)
    trim = staticmethod(trim)

    def __init__(self, clip_model: nn.Module):
        super().__init__()
        self.token_embedding = clip_model.token_embedding
        self.positional_embedding = clip_model.positional_embedding
        self.transformer = clip_model.transformer
        self.ln_final = clip_model.ln_final
        self.text_projection = clip_model.text_projection
        self.width, self.dim = clip_model.text_projection.shape

    def embed(self, packed: PackedPrompts, weight: torch.Tensor | None = None) -> torch.Tensor:
        """Returns token embeddings (1, T, d) without positional embeddings, in the dtype of CLIP's matrices.

        `weight` is used in place of the embedding's own.
        """
        return embed(self.token_embedding, packed.tokens, weight)[None].to(self.text_projection.dtype)

    def forward(
        self,
        packed: PackedPrompts,
        x: torch.Tensor | None = None,
        deep=(),
        start: Start | None = None,
        inserted: Insertions | None = None,
    ) -> torch.Tensor:
        """Computes text features of the packed prompts.

        Args:
            packed: from `pack`, on the encoder's device.
            x: (B, T, d) embeddings of the packed tokens, including learned ones; None: the token embeddings.
            deep: tensors (n_ctx, d) or (B, n_ctx, d); the i-th replaces the learned tokens before block i + 1 (MaPLe).
                `PromptLearner.packed_prompts` knows their rows. None leaves the tokens of the block before.
            start: from `constant_start` for these prompts; then `x` is ignored.
            inserted: what is inserted into the blocks.

        Returns:
            (n, E) features, not normalised; (B, n, E) if x is given.
        """
        has_input = x is not None
        first_block = 0
        if start is not None:
            x = start.x
            first_block = start.blocks
            if start.blocks:
                x = x + (self.transformer.resblocks[start.blocks - 1].mlp.c_proj.bias - start.bias)
        else:
            x = x if has_input else self.embed(packed)
            x = x + self.positional_embedding[packed.positions].to(x.dtype)
        x = self.run_blocks(x, packed, first_block, deep=deep, inserted=inserted)
        features = self.ln_final(x) @ self.text_projection
        return features if has_input else features[0]

    def run_blocks(
        self, x: torch.Tensor, packed: PackedPrompts, first=0, end: int | None = None, deep=(), inserted=None
    ) -> torch.Tensor:
        """Runs x (B, T, d) through blocks `first` to `end` - 1. The last block returns (B, n, d): end-of-text rows."""
        blocks = list(self.transformer.resblocks)
        n_tokens = 0  # inserted after the first token
        for i in range(first, len(blocks) if end is None else end):
            if 0 < i <= len(deep) and deep[i - 1] is not None:
                x = replace_rows(x, packed.learned_rows, packed.learned_index, deep[i - 1])
            here = (inserted or {}).get(i, {})
            x, present = insert_tokens(here, x, n_tokens)
            if present > n_tokens:
                packed, n_tokens = with_tokens(packed, present), present
            rows = packed.eot_rows if i == len(blocks) - 1 else None
            attend_packed = partial(attend, packed=packed, rows=rows)
            x = run_block(blocks[i], x, attend_packed, rows, recompute=self.recompute, inserted=here)
        return x

    @torch.no_grad()
    def constant_start(self, packed: PackedPrompts, tuned: list[str], inserted: Iterable[int] = ()) -> Start | None:
        """Returns the activations before the first tuned parameter, which are constant; None if there are none.

        Args:
            tuned: names of the tuned parameters. All others are frozen.
            inserted: numbers of the blocks into which something is inserted.
        """
        # Examples for 12 blocks:
        #   tuned in block 3: ln_1.weight                 -> blocks = 3: blocks 0 to 2 are constant.
        #   tuned in blocks 0 to 11: mlp.c_proj.bias only -> blocks = 1: block 0 ends with "+ c_proj.bias", so all of it
        #                                                    but this addition is constant; `forward` corrects the bias.
        #   tuned: ln_final.weight only                   -> blocks = 12: all blocks are constant.
        #   inserted into blocks 3 to 11                  -> blocks = 3 at most: what is inserted is tuned.
        if INPUTS & set(tuned):
            return None
        n_blocks = len(self.transformer.resblocks)
        blocks = n_blocks
        for i in range(n_blocks):
            prefix = f"transformer.resblocks.{i}."
            tuned_here = {name[len(prefix) :] for name in tuned if name.startswith(prefix)}
            if tuned_here:
                blocks = i + 1 if tuned_here == {"mlp.c_proj.bias"} else i
                break
        blocks = min([blocks, *inserted])
        x = self.embed(packed)
        x = x + self.positional_embedding[packed.positions].to(x.dtype)
        x = self.run_blocks(x, packed, end=blocks)
        bias = self.transformer.resblocks[max(blocks - 1, 0)].mlp.c_proj.bias
        return Start(blocks, x, bias.detach().clone())


def embed(embedding: nn.Module, tokens: torch.Tensor, weight: torch.Tensor | None = None) -> torch.Tensor:
    """Returns the embeddings (T, d) of tokens (T,), with `weight` in place of the module's own."""
    return functional_call(embedding, {} if weight is None else {"weight": weight}, (tokens,))


def attend(qkv: torch.Tensor, heads: int, packed: PackedPrompts, rows: torch.Tensor | None = None) -> torch.Tensor:
    """Computes causal attention among packed tokens: (B, T, 3d) -> (B, T, d), or (B, n, d) for the n rows in `rows`.

    The prefix attends to itself. The tokens of a class attend to the prefix and to their own predecessors.
    """
    # Example: "a photo of a cat." and "a photo of a dog.", P = 5 prefix rows, T = 11 rows:
    #   row    0    1  2      3   4  | 5    6  7    | 8    9  10
    #   token  <s>  a  photo  of  a  | cat  .  <e>  | dog  .  <e>
    # The prefix is one causal attention over 5 rows. Both classes have 3 further tokens, so they form one group with
    # (n, s) = (2, 3): a batch of 2, with 3 queries and 5 + 3 keys each. Both share one mask (s, P + s):
    #   cat  1 1 1 1 1  1 0 0
    #   .    1 1 1 1 1  1 1 0
    #   <e>  1 1 1 1 1  1 1 1
    B, _, width = qkv.shape
    P = packed.prefix
    d = width // 3
    qkv = qkv.unflatten(-1, (3, heads, d // heads))  # (B, T, 3, h, d/h)
    prefix = qkv[:, :P].permute(2, 0, 3, 1, 4)  # (3, B, h, P, d/h)
    outputs = []
    if P:
        outputs.append(attention(*prefix, is_causal=True).transpose(1, 2).reshape(B, P, d))
    start = P
    for (n, length), mask in zip(packed.groups, packed.attention_masks):
        group = qkv[:, start : start + n * length].unflatten(1, (n, length))  # (B, n, s, 3, h, d/h)
        group = group.permute(3, 0, 1, 4, 2, 5)  # (3, B, n, h, s, d/h)
        q = group[0]
        kv = group[1:]
        if P:
            kv = torch.cat([prefix[1:, :, None].expand(-1, -1, n, -1, -1, -1), kv], dim=4)  # (2, B, n, h, P + s, d/h)
        y = attention(q.flatten(0, 1), *kv.flatten(1, 2), attn_mask=mask)  # (B n, h, s, d/h)
        outputs.append(y.transpose(1, 2).reshape(B, n * length, d))
        start += n * length
    y = torch.cat(outputs, dim=1)
    return y if rows is None else y[:, rows]

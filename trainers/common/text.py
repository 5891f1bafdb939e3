"""CLIP's text encoder, exact, computing each token once.

Why the result equals OpenAI's encoder on 77 padded tokens: attention is causal, so a token sees only what stands
before it, and the feature is read at the end-of-text token. Hence

- tokens after the end-of-text change nothing and are left out;
- tokens that begin every prompt ("a photo of a") have the same activations in every class and are computed once;
- after the last block only the end-of-text token is read, so only it passes that block's query and FFN.

The tokens are packed without padding into one matrix x (B, T, d): first the P tokens of the shared prefix, then the
remaining tokens of every class, classes of equal length next to each other. Everything but attention works on rows of
x. B is 1 unless the prompts depend on the image (CoCoOp).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import nn

from .compat import attention


@dataclass(frozen=True)
class Layout:
    """Where the tokens of n prompts lie in the packed matrix of T rows.

    Attributes:
        prefix: P, the number of leading tokens that all prompts share.
        tokens: (T,) token ids.
        positions: (T,) place of each token in its own prompt.
        classes: (T,) prompt of each token; -1 in the shared prefix.
        eot: (n,) row of each prompt's end-of-text token, in the order of the prompts given.
        groups: (number of prompts, tokens after the prefix) of each run of equally long prompts.
    """

    prefix: int
    tokens: torch.Tensor
    positions: torch.Tensor
    classes: torch.Tensor
    eot: torch.Tensor
    groups: tuple[tuple[int, int], ...]

    def to(self, device: torch.device | str) -> Layout:
        """The same layout with its tensors on another device."""
        moved = {k: getattr(self, k).to(device) for k in ("tokens", "positions", "classes", "eot")}
        return Layout(prefix=self.prefix, groups=self.groups, **moved)


def pack(tokens: torch.Tensor, max_prefix: int = 77) -> Layout:
    """Pack tokenised prompts.

    Args:
        tokens: (n, 77) ids; the end-of-text id is the largest of each row.
        max_prefix: share at most so many leading tokens (1 where learned tokens differ from class to class).
    """
    eot = tokens.argmax(dim=-1)  # (n,)
    same = (tokens == tokens[0]).all(dim=0)  # (77,)
    shared = int(same.long().cumprod(0).sum())
    prefix = min(shared, max_prefix, int(eot.min()))  # every prompt keeps its own end-of-text token
    lengths = eot + 1 - prefix  # (n,)
    order = torch.argsort(lengths, stable=True)
    sizes, counts = torch.unique_consecutive(lengths[order], return_counts=True)

    own = torch.arange(tokens.shape[1] - prefix) < lengths[order, None]  # (n, 77 - P)
    rows, columns = own.nonzero(as_tuple=True)  # prompt by prompt, in packed order
    ends = torch.empty_like(eot)
    ends[order] = prefix + lengths[order].cumsum(0) - 1
    shared_rows = torch.arange(prefix)
    return Layout(
        prefix=prefix,
        tokens=torch.cat([tokens[0, :prefix], tokens[order[rows], prefix + columns]]),
        positions=torch.cat([shared_rows, prefix + columns]),
        classes=torch.cat([torch.full_like(shared_rows, -1), order[rows]]),
        eot=ends,
        groups=tuple(map(tuple, torch.stack([counts, sizes], dim=1).tolist())),
    )


class TextEncoder(nn.Module):
    """Text features of packed prompts; shares the modules of the CLIP that it is made from."""

    def __init__(self, clip_model: nn.Module):
        super().__init__()
        self.token_embedding = clip_model.token_embedding
        self.positional_embedding = clip_model.positional_embedding
        self.transformer = clip_model.transformer
        self.ln_final = clip_model.ln_final
        self.text_projection = clip_model.text_projection

    def embed(self, layout: Layout) -> torch.Tensor:
        """Word embeddings of the packed tokens: (1, T, d), without positions, in the type of CLIP's matrices."""
        return self.token_embedding(layout.tokens)[None].to(self.text_projection.dtype)

    def forward(self, layout: Layout, x: torch.Tensor | None = None, deep=()) -> torch.Tensor:
        """Encode prompts.

        Args:
            layout: from `pack`, on the encoder's device.
            x: (B, T, d) embeddings with learned tokens in their rows; None: the words' own.
            deep: pairs of tensors (n_ctx, d): the i-th replaces rows 1..n_ctx before block i + 1 (MaPLe).

        Returns:
            (n, E) features, not normalised; (B, n, E) where x was given.
        """
        words_only = x is None
        x = self.embed(layout) if words_only else x
        x = x + self.positional_embedding[layout.positions].to(x.dtype)
        last = len(self.transformer.resblocks) - 1
        for i, block in enumerate(self.transformer.resblocks):
            if 0 < i <= len(deep):
                x = replace_rows(x, 1, deep[i - 1])
            x = run_block(block, x, layout, only=layout.eot if i == last else None)
        features = self.ln_final(x) @ self.text_projection
        return features[0] if words_only else features


def replace_rows(x: torch.Tensor, start: int, rows: torch.Tensor) -> torch.Tensor:
    """x (B, T, d) with rows (n, d) or (B, n, d) in place of x[:, start : start + n]."""
    rows = rows.to(x.dtype).expand(x.shape[0], -1, -1)
    return torch.cat([x[:, :start], rows, x[:, start + rows.shape[1] :]], dim=1)


def run_block(block: nn.Module, x: torch.Tensor, layout: Layout, only: torch.Tensor | None = None) -> torch.Tensor:
    """One residual attention block on packed tokens x (B, T, d); with `only`, the output of those rows alone."""
    attn = block.attn
    qkv = F.linear(block.ln_1(x), attn.in_proj_weight, attn.in_proj_bias)  # (B, T, 3d)
    y = attend(qkv, attn.num_heads, layout)  # (B, T, d)
    if only is not None:
        x, y = x[:, only], y[:, only]
    x = x + F.linear(y, attn.out_proj.weight, attn.out_proj.bias)
    return x + block.mlp(block.ln_2(x))


def attend(qkv: torch.Tensor, heads: int, layout: Layout) -> torch.Tensor:
    """Causal attention among the packed tokens: (B, T, 3d) -> (B, T, d).

    The prefix attends to itself; the tokens of a class to the prefix and to their own predecessors.
    """
    B, _, width = qkv.shape
    P, d = layout.prefix, width // 3
    split = qkv.unflatten(-1, (3, heads, d // heads))  # (B, T, 3, h, d/h)
    q, k, v = split[:, :P].permute(2, 0, 3, 1, 4)  # each (B, h, P, d/h)
    outputs = [attention(q, k, v, is_causal=True).transpose(1, 2).reshape(B, P, d)] if P else []
    start = P
    for n, length in layout.groups:
        own = split[:, start : start + n * length].unflatten(1, (n, length))  # (B, n, s, 3, h, d/h)
        own_q, own_k, own_v = own.permute(3, 0, 1, 4, 2, 5)  # each (B, n, h, s, d/h)
        if P:
            own_k = torch.cat([k[:, None].expand(-1, n, -1, -1, -1), own_k], dim=3)  # (B, n, h, P + s, d/h)
            own_v = torch.cat([v[:, None].expand(-1, n, -1, -1, -1), own_v], dim=3)
        mask = torch.ones(length, P + length, dtype=torch.bool, device=qkv.device).tril(P)
        y = attention(
            own_q.flatten(0, 1), own_k.flatten(0, 1), own_v.flatten(0, 1), attn_mask=mask
        )  # (B n, h, s, d/h)
        outputs.append(y.transpose(1, 2).reshape(B, n * length, d))
        start += n * length
    return torch.cat(outputs, dim=1)

"""CLIP's ViT with the same output, optional learned tokens, and a last block for the class token only.

The class token is the only token read after the last block. That block's attention, output projection and FFN are
therefore computed for the class token only, which saves a sixteenth of the products of a ViT-B. The rest is as in
`clip.model.VisionTransformer`.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from ..compat import attention
from .blocks import run_block
from .insertions import Insertions, insert_tokens


def image_encoder(visual: nn.Module) -> nn.Module:
    """Returns the encoder to call instead of `clip.visual`: a `ViT`, or the ResNet itself; same parameter names."""
    return ViT(visual) if hasattr(visual, "transformer") else visual


class ViT(nn.Module):
    """CLIP's image encoder. Shares the modules of the `clip.model.VisionTransformer` it is built from."""

    recompute = False  # activation checkpointing
    compiled = False  # torch.compile

    def __init__(self, visual: nn.Module):
        super().__init__()
        self.conv1 = visual.conv1
        self.ln_pre = visual.ln_pre
        self.transformer = visual.transformer
        self.ln_post = visual.ln_post
        self.class_embedding = visual.class_embedding
        self.positional_embedding = visual.positional_embedding
        self.proj = visual.proj

    def forward(
        self, image: torch.Tensor, prompts=(), inserted: Insertions | None = None, return_tokens: bool = False
    ) -> torch.Tensor | tuple[torch.Tensor, torch.Tensor]:
        """Returns image features (B, E), not normalised, of images (B, 3, H, W).

        `prompts[i]` (n_ctx, D) are learned tokens, appended to the input of block i. They replace the outputs of the
        learned tokens of block i - 1. `inserted` is what is inserted into the blocks. With `return_tokens`, also
        returns the outputs (B, n, D) of the learned tokens in it, after the last LayerNorm.
        """
        x = self.conv1(image).flatten(2).transpose(1, 2)  # (B, patches, D)
        x = torch.cat([self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
        x = x + self.positional_embedding.to(x.dtype)
        n_tokens = x.shape[1]
        last = len(self.transformer.resblocks) - 1
        n_inserted = 0  # learned tokens after the class token
        for i, block in enumerate(self.transformer.resblocks):
            if i < len(prompts):
                x = torch.cat([x[:, :n_tokens], prompts[i].to(x.dtype).expand(x.shape[0], -1, -1)], dim=1)
            if i == 0:
                x = self.ln_pre(x)
            here = (inserted or {}).get(i, {})
            x, n_inserted = insert_tokens(here, x, n_inserted)
            attend, rows = attend_all, None
            if i == last:
                n_read = 1 + n_inserted if return_tokens else 1
                attend, rows = partial(attend_first, n=n_read), slice(0, n_read)
            x = run_block(block, x, attend, rows, self.recompute, self.compiled, inserted=here)
        features = self.ln_post(x[:, 0]) @ self.proj
        return (features, self.ln_post(x[:, 1:])) if return_tokens else features


def attend_all(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    """Computes self-attention of all tokens: (B, T, 3D) -> (B, T, D)."""
    return _attend(qkv, heads, qkv.shape[1])


def attend_first(qkv: torch.Tensor, heads: int, n: int = 1) -> torch.Tensor:
    """Computes attention of the first n tokens to all tokens: (B, T, 3D) -> (B, n, D)."""
    return _attend(qkv, heads, n)


def _attend(qkv: torch.Tensor, heads: int, n_queries: int) -> torch.Tensor:
    """Computes attention of the first `n_queries` tokens to all tokens."""
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, h, T, D/h)
    return attention(q[:, :, :n_queries], k, v).transpose(1, 2).flatten(2)

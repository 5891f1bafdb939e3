"""CLIP's ViT, exact: only what its class token needs, with room for learned tokens.

After the last block only the class token is read, so only it passes that block's query, projection and FFN, which is a
twelfth of a ViT-B. Everything else is computed as in `clip.model.VisionTransformer`.
"""

from __future__ import annotations

import torch
from torch import nn

from ..compat import attention
from .blocks import run_block


def image_encoder(visual: nn.Module) -> nn.Module:
    """The encoder to call in the place of `clip.visual`: a ViT, or the ResNet that it is. Parameter names stay."""
    return ViT(visual) if hasattr(visual, "transformer") else visual


class ViT(nn.Module):
    """Shares the modules of the `clip.model.VisionTransformer` that it is made from."""

    recompute = False  # activation checkpointing
    compiled = False  # by torch.compile

    def __init__(self, visual: nn.Module):
        super().__init__()
        self.conv1, self.ln_pre = visual.conv1, visual.ln_pre
        self.transformer, self.ln_post = visual.transformer, visual.ln_post
        self.class_embedding, self.positional_embedding = visual.class_embedding, visual.positional_embedding
        self.proj = visual.proj

    def forward(self, image: torch.Tensor, prompts=()) -> torch.Tensor:
        """Features (B, E) of images (B, 3, H, W).

        `prompts[i]`, (n_ctx, D), are learned tokens: the last ones that enter block i, in the place of the former.
        """
        x = self.conv1(image).flatten(2).transpose(1, 2)  # (B, patches, D)
        x = torch.cat([self.class_embedding.to(x.dtype).expand(x.shape[0], 1, -1), x], dim=1)
        x = x + self.positional_embedding.to(x.dtype)
        n_tokens, last = x.shape[1], len(self.transformer.resblocks) - 1
        for i, block in enumerate(self.transformer.resblocks):
            if i < len(prompts):
                x = torch.cat([x[:, :n_tokens], prompts[i].to(x.dtype).expand(x.shape[0], -1, -1)], dim=1)
            if i == 0:
                x = self.ln_pre(x)
            how = (attend_first, slice(0, 1)) if i == last else (attend_all, None)
            x = run_block(block, x, *how, recompute=self.recompute, compiled=self.compiled)
        return self.ln_post(x[:, 0]) @ self.proj


def attend_all(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention of all tokens to all: (B, T, 3D) -> (B, T, D)."""
    return _attend(qkv, heads, qkv.shape[1])


def attend_first(qkv: torch.Tensor, heads: int) -> torch.Tensor:
    """Attention of the first token to all: (B, T, 3D) -> (B, 1, D)."""
    return _attend(qkv, heads, 1)


def _attend(qkv: torch.Tensor, heads: int, n: int) -> torch.Tensor:
    q, k, v = qkv.unflatten(-1, (3, heads, -1)).permute(2, 0, 3, 1, 4)  # each (B, h, T, D/h)
    return attention(q[:, :, :n], k, v).transpose(1, 2).flatten(2)

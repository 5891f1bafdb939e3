"""MMRL++: MMRL with fewer parameters, 813,312 on a ViT-B/16, and tokens that pass on what the blocks made of them.

MMRL++: Parameter-Efficient and Interaction-Aware Representation Learning for Vision-Language Models,
https://arxiv.org/abs/2505.10088

It differs from MMRL in three ways:

- All blocks of an encoder share one matrix of the projections of the shared tokens. A block adds a matrix of rank
  RES_LORA_DIM, and has a bias of its own.
- The second projection is CLIP's own plus a matrix of rank PROJ_LORA_DIM, so it starts at CLIP's.
- From the second block with tokens on, what is inserted is BETA times the block's tokens plus 1 - BETA times the
  outputs of the tokens of the block before.

Deliberate differences from the official code, in addition to those of MMRL:

- A run is tested with the BETA that it was trained with. The official code tests a model trained on ImageNet with
  another value on each target dataset (0.3 to 0.9).
- BETA and REG_WEIGHT of a training dataset are in configs/recipes.yaml. The official train.py sets them by itself.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import nn

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.models.insertions import TOKENS, Insertions, LearnedTokens
from .mmrl import MMRL

cfg_default.TRAINER.MMRLPP = cfg_default.TRAINER.MMRL.clone()
cfg_default.TRAINER.MMRLPP.BETA = 0.9  # share of a block's own tokens; the rest are outputs of those before
cfg_default.TRAINER.MMRLPP.RES_LORA_DIM = 4  # rank of what a block adds to the shared projection
cfg_default.TRAINER.MMRLPP.PROJ_LORA_DIM = 64  # rank of the change of CLIP's image projection


class LowRankMatrix(nn.Module):
    """A matrix A B (n, m), zero at first: A (n, rank) is random as in a linear layer, B (rank, m) is zero."""

    def __init__(self, n: int, m: int, rank: int):
        super().__init__()
        self.A = nn.Parameter(torch.empty(n, rank))
        self.B = nn.Parameter(torch.zeros(rank, m))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self) -> torch.Tensor:
        return self.A @ self.B


class AlignedTokens(nn.Module):
    """The learned tokens of one encoder: projections of the shared tokens that share most of their parameters.

    The shared tokens are registered elsewhere, as both encoders have them.
    """

    def __init__(self, shared: nn.Parameter, width: int, blocks: list[int], rank: int, share: float):
        super().__init__()
        layer = nn.Linear(shared.shape[1], width)
        self.weight = layer.weight
        self.residuals = nn.ModuleDict({str(i): LowRankMatrix(*layer.weight.shape, rank) for i in blocks})
        self.biases = nn.ParameterDict({str(i): layer.bias.detach().clone() for i in blocks})
        self.shared = (shared,)
        self.share = share

    def forward(self, dtype: torch.dtype) -> Insertions:
        """Returns the tokens (n, width) of each block, in the dtype of the encoder."""
        found = {}
        for i, residual in self.residuals.items():
            tokens = F.linear(*self.shared, self.weight + residual(), self.biases[i])
            found[int(i)] = {TOKENS: LearnedTokens(tokens.to(dtype), self.share)}
        return found


@TRAINER_REGISTRY.register()
class MMRLPP(MMRL):
    """MMRL++'s trainer: minimises MMRL's loss."""

    section = "MMRLPP"
    model_name = "mmrlpp"
    upstream_names = ("MMRLpp",)
    upstream_section = "MMRLpp"

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.MMRLPP
        for name in ("RES_LORA_DIM", "PROJ_LORA_DIM"):
            if options[name] < 1:
                raise ValueError(f"TRAINER.MMRLPP.{name} must be at least 1, got {options[name]}")
        if not 0 < options.BETA <= 1:
            raise ValueError(f"TRAINER.MMRLPP.BETA must be above 0 and at most 1, got {options.BETA}")

    def tokens_of(self, shared, width, blocks):
        return AlignedTokens(shared, width, blocks, self.options.RES_LORA_DIM, self.options.BETA)

    def add_projection(self, tuned):
        tuned.change = LowRankMatrix(self.backbone.image_width, self.backbone.dim, self.options.PROJ_LORA_DIM)

    def second_projection(self):
        (name,) = self.backbone.projection()
        return self._value(name) + self.tuned.change()

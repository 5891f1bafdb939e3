"""Adapter: a two-layer bottleneck after the attention and after the FFN of each block, in both encoders.

Parameter-Efficient Transfer Learning for NLP (Houlsby et al.), https://arxiv.org/abs/1902.00751

The output y of a place becomes y + W_up gelu(W_down y + b_down) + b_up, before the sum with the residual.

Deliberate differences from the official code, which is for BERT:

- Blocks of CLIP have their LayerNorms before attention and FFN. The places are the same: on the output of the last
  linear layer of attention and FFN.
- LayerNorms stay frozen by default. The official code tunes them: TRAINER.ADAPTER.TUNE "('image_layernorm',
  'text_layernorm')".
- The classifier is CLIP's: the text features of the classes. The official code learns one.
"""

import torch
import torch.nn.functional as F
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.models.insertions import PLACES, InsertedModules
from .common.models.parameter_sets import parse_blocks
from .common.models.places import encoders
from .common.trainer import ClipTrainer

STD = 1e-3  # of the initial weights, as in the official code


def add_options(section: CN, places: tuple = PLACES) -> None:
    """Adds the options that all methods with modules in the blocks have."""
    section.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
    section.ENCODERS = "both"  # image, text or both
    section.PLACES = places  # after_attention, after_ffn
    section.BLOCKS = "all"  # numbers from 0 and ranges such as 0-2,5, first3 or last3, in each encoder
    section.TUNE = ()  # parameter sets of CLIP tuned too


cfg_default.TRAINER.ADAPTER = CN()
add_options(cfg_default.TRAINER.ADAPTER)
cfg_default.TRAINER.ADAPTER.WIDTH = 64  # of the bottleneck


def bottleneck(y: torch.Tensor, down, down_bias, up, up_bias) -> torch.Tensor:
    """Returns y + up gelu(down y + down_bias) + up_bias for y (..., d), down (r, d) and up (d, r)."""
    hidden = F.gelu(F.linear(y, down, down_bias), approximate="tanh")  # (..., r)
    return y + F.linear(hidden, up, up_bias)


class Bottleneck(nn.Module):
    """The matrices and biases of one adapter."""

    function = staticmethod(bottleneck)

    def __init__(self, width: int, hidden: int):
        super().__init__()
        self.down = nn.Linear(width, hidden)
        self.up = nn.Linear(hidden, width)
        for layer in (self.down, self.up):
            nn.init.trunc_normal_(layer.weight, std=STD, a=-2 * STD, b=2 * STD)
            nn.init.zeros_(layer.bias)

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return self.down.weight, self.down.bias, self.up.weight, self.up.bias


@TRAINER_REGISTRY.register()
class Adapter(ClipTrainer):
    """The adapters' trainer: minimises CE."""

    section = "ADAPTER"
    model_name = "adapter"
    needs_blocks = True

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        places = cfg.TRAINER[self.section].PLACES
        if isinstance(places, str) or not places or not set(places) <= set(PLACES):
            raise ValueError(f"TRAINER.{self.section}.PLACES must be one or more of {PLACES}, got {places!r}")
        self.check_sizes(cfg.TRAINER[self.section])

    def check_sizes(self, options) -> None:
        if options.WIDTH < 1:
            raise ValueError(f"TRAINER.ADAPTER.WIDTH must be at least 1, got {options.WIDTH}")

    def build_tuned(self, classnames):
        tuned = nn.Module()
        tuned.inserted = nn.ModuleDict()
        for encoder in encoders(self.options.ENCODERS, f"TRAINER.{self.section}.ENCODERS"):
            tuned.inserted[encoder] = self.modules_of(encoder, self.widths(encoder))
        return tuned

    def widths(self, encoder: str) -> dict[int, dict[str, int]]:
        """Returns the width at each place of an encoder that gets a module: number of a block -> place -> width."""
        points = self.backbone.insertion_points(encoder == "image")
        numbers = parse_blocks(self.options.BLOCKS, len(points), f"TRAINER.{self.section}.BLOCKS")
        return {i: {place: points[i][place][1] for place in self.options.PLACES} for i in numbers}

    def modules_of(self, encoder: str, widths: dict[int, dict[str, int]]) -> InsertedModules:
        """Returns the modules of one encoder; `widths` as in `InsertedModules`."""
        return InsertedModules(widths, lambda width: Bottleneck(width, self.options.WIDTH))

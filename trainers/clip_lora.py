"""CLIP-LoRA: low-rank changes of the attention matrices of both encoders, 184,320 parameters on a ViT-B/16.

Low-Rank Few-Shot Adaptation of Vision-Language Models, https://arxiv.org/abs/2405.18541

A matrix W (n_out, n_in) becomes W + s B A, with A (r, n_in), B (n_out, r) and s = alpha / sqrt(r), as in the official
code and in rsLoRA (https://arxiv.org/abs/2312.03732); LoRA's own scale is alpha / r. In training, dropout acts on the
input of A, for each matrix on its own: y = W x + s B A dropout(x). Otherwise the sum is a matrix of CLIP, so the
fine-tuned model is a plain CLIP.

Deliberate differences from the official code:

- Without dropout its gradient lacks a part: it subtracts the change from the matrix before the backward pass. Here the
  gradient is that of the formula.
- A token that all prompts start with is encoded once for all classes, so it has the same dropout in every class.
- The logit scale is CLIP's own. The official code has 100, which is the value of OpenAI's models to five digits.
- An epoch leaves out its last, incomplete batch if it has a complete one, as in Dassl.
- FFN matrices can be changed too, and blocks are chosen by number. Its positions "bottom", "mid", "up", "half-bottom"
  and "half-up" of 12 blocks are first4, 4-7, last4, first6 and last6.
"""

import math
from functools import partial

from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.models.backbones import outline
from .common.models.weight_changes import LowRank, WeightChanges, check_rank, chosen_matrices
from .common.trainer import ClipTrainer

cfg_default.TRAINER.CLIPLORA = CN()
cfg_default.TRAINER.CLIPLORA.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.CLIPLORA.ENCODERS = "both"  # image, text or both
cfg_default.TRAINER.CLIPLORA.MATRICES = ("q", "k", "v")  # of q, k, v, o (attention), up, down (FFN)
cfg_default.TRAINER.CLIPLORA.BLOCKS = "all"  # numbers from 0 and ranges such as 0-2,5, first3 or last3, in each encoder
cfg_default.TRAINER.CLIPLORA.RANK = 2
cfg_default.TRAINER.CLIPLORA.ALPHA = 1.0  # the scale is ALPHA / sqrt(RANK)
cfg_default.TRAINER.CLIPLORA.DROPOUT = 0.25  # probability that an element of the input of A is 0 in training
cfg_default.TRAINER.CLIPLORA.TUNE = ()  # parameter sets of CLIP tuned too


@TRAINER_REGISTRY.register()
class CLIPLoRA(ClipTrainer):
    """CLIP-LoRA's trainer: minimises CE."""

    section = "CLIPLORA"
    model_name = "clip_lora"
    needs_blocks = True

    @classmethod
    def complete_cfg(cls, cfg):
        super().complete_cfg(cfg)
        cls.changed_matrices(cfg.TRAINER.CLIPLORA, outline(cfg.MODEL.BACKBONE.NAME).model)

    @staticmethod
    def changed_matrices(options, model: nn.Module) -> list[tuple]:
        """Returns the places of the matrices that `options` choose, for `WeightChanges`."""
        places = chosen_matrices(model, options, "CLIPLORA")
        check_rank(model, places, options.RANK, "TRAINER.CLIPLORA.RANK")
        return places

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.CLIPLORA
        if options.RANK < 1:
            raise ValueError(f"TRAINER.CLIPLORA.RANK must be at least 1, got {options.RANK}")
        if options.ALPHA <= 0:
            raise ValueError(f"TRAINER.CLIPLORA.ALPHA must be above 0, got {options.ALPHA}")
        if not 0 <= options.DROPOUT < 1:
            raise ValueError(f"TRAINER.CLIPLORA.DROPOUT must be from 0 to below 1, got {options.DROPOUT}")

    def build_tuned(self, classnames):
        options = self.options
        places = self.changed_matrices(options, self.clip)
        scale = options.ALPHA / math.sqrt(options.RANK)
        make = partial(LowRank, rank=options.RANK, scale=scale, dropout=options.DROPOUT)
        tuned = nn.Module()
        tuned.changes = WeightChanges(self.clip, places, make)
        return tuned

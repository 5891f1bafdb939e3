"""CLIP-Adapter: a small network on top of the image features; its output is mixed with the features.

CLIP-Adapter: Better Vision-Language Models with Feature Adapters, https://arxiv.org/abs/2110.04544

Deliberate differences from the official code:

- The width comes from the backbone (official: RN50's 1024), the ratio from the config.
- The text features are constant and computed once.
- Every precision works; the adapter is fp32.
- Image LayerNorms can be tuned too ("+UL": TRAINER.CLIP_ADAPTER.TUNE "('image_layernorm',)").
"""

import torch
import torch.nn.functional as F
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.trainer import ClipTrainer

cfg_default.TRAINER.CLIP_ADAPTER = CN()
cfg_default.TRAINER.CLIP_ADAPTER.PREC = "fp32"  # as in the official code; auto (fp16 on CUDA), fp32, fp16, bf16, amp
cfg_default.TRAINER.CLIP_ADAPTER.RATIO = 0.2  # share of the adapter's output in the image feature
cfg_default.TRAINER.CLIP_ADAPTER.REDUCTION = 4  # the hidden layer has 1 / REDUCTION of the features' width
cfg_default.TRAINER.CLIP_ADAPTER.TUNE = ()  # parameter sets of CLIP tuned too


class Adapter(nn.Module):
    """Computes ReLU(W2 ReLU(W1 f)) for image features f (B, E), without biases."""

    def __init__(self, dim: int, reduction: int):
        super().__init__()
        hidden = dim // reduction
        down = nn.Linear(dim, hidden, bias=False)
        up = nn.Linear(hidden, dim, bias=False)
        self.fc = nn.Sequential(down, nn.ReLU(), up, nn.ReLU())

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        return self.fc(features)


@TRAINER_REGISTRY.register()
class CLIP_Adapter(ClipTrainer):
    """CLIP-Adapter's trainer: minimises CE."""

    section = "CLIP_ADAPTER"
    for_any_text = ("encode_image",)
    one_image_feature = True
    model_name = "clip_adapter"
    not_loaded = ("token_prefix", "token_suffix")

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.CLIP_ADAPTER
        if not 0 <= options.RATIO <= 1:
            raise ValueError(f"TRAINER.CLIP_ADAPTER.RATIO must be from 0 to 1, got {options.RATIO}")
        if options.REDUCTION < 1:
            raise ValueError(f"TRAINER.CLIP_ADAPTER.REDUCTION must be at least 1, got {options.REDUCTION}")

    def build_tuned(self, classnames):
        return Adapter(self.backbone.dim, self.options.REDUCTION)

    def encode_image(self, image, tuned=True):
        features = self.image_features(image, tuned)
        if tuned:
            features = self.options.RATIO * self.tuned(features) + (1 - self.options.RATIO) * features
        return F.normalize(features.float(), dim=-1)

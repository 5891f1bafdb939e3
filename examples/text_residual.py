"""TextResidual: adds a learned residual to the text feature of each class. CLIP stays frozen.

The idea of TaskRes (https://arxiv.org/abs/2211.10277), which `trainers/taskres.py` has with the settings of its paper.

An example of a method as a plugin: one file, no change to this repository.

    python train.py --plugin examples/text_residual.py --trainer TextResidual ...
    bash scripts/fewshot.sh TextResidual dtd 16 1 2 3 --data DATA --plugin examples/text_residual.py

w_k = w_k^clip + SCALE * r_k, normalised. The residuals r (n_cls, E) start at zero.
"""

import torch
import torch.nn.functional as F
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY
from trainers.common.trainer import ClipTrainer

cfg_default.TRAINER.TEXT_RESIDUAL = CN()
cfg_default.TRAINER.TEXT_RESIDUAL.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.TEXT_RESIDUAL.SCALE = 0.5  # weight of the residual
cfg_default.TRAINER.TEXT_RESIDUAL.TUNE = ()  # parameter sets of CLIP tuned too


class Residual(nn.Module):
    """One residual vector per class."""

    def __init__(self, n_cls: int, dim: int):
        super().__init__()
        self.residual = nn.Parameter(torch.zeros(n_cls, dim))


@TRAINER_REGISTRY.register()
class TextResidual(ClipTrainer):
    """TextResidual's trainer: minimises CE."""

    section = "TEXT_RESIDUAL"
    model_name = "text_residual"
    per_class = True

    def build_tuned(self, classnames):
        return Residual(len(classnames), self.backbone.dim)

    def text_features(self):
        text = super().text_features() + self.options.SCALE * self.tuned.residual  # (n_cls, E)
        return F.normalize(text, dim=-1)

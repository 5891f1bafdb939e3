"""TaskRes: adds a learned residual to the text feature of each class. CLIP stays frozen.

Task Residual for Tuning Vision-Language Models, https://arxiv.org/abs/2211.10277

An example of a method as a plugin: one file, no change to this repository.

    python train.py --plugin examples/taskres.py --trainer TaskRes ...
    bash scripts/fewshot.sh TaskRes dtd 16 1 2 3 --data DATA --plugin examples/taskres.py

w_k = w_k^clip + SCALE * r_k (eq. 4), normalised. The residuals r (n_cls, E) start at zero. Differences from the
official code: residuals are fp32 at every precision, and the base classifier is zero-shot CLIP (the paper's "regular
base").
"""

import torch
import torch.nn.functional as F
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY
from trainers.common.trainer import ClipTrainer

cfg_default.TRAINER.TASKRES = CN()
cfg_default.TRAINER.TASKRES.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.TASKRES.SCALE = 0.5  # weight of the residual; alpha in the paper
cfg_default.TRAINER.TASKRES.TUNE = ()  # parameter sets of CLIP tuned too


class Residual(nn.Module):
    """One residual vector per class."""

    def __init__(self, n_cls: int, dim: int):
        super().__init__()
        self.residual = nn.Parameter(torch.zeros(n_cls, dim))


@TRAINER_REGISTRY.register()
class TaskRes(ClipTrainer):
    """TaskRes's trainer: minimises CE."""

    section = "TASKRES"
    model_name = "taskres"
    per_class = True

    def build_tuned(self, classnames):
        return Residual(len(classnames), self.backbone.dim)

    def text_features(self):
        text = super().text_features() + self.options.SCALE * self.tuned.residual  # (n_cls, E)
        return F.normalize(text, dim=-1)

"""TaskRes: a residual added to each class's text feature; CLIP itself stays as it is.

Task Residual for Tuning Vision-Language Models, https://arxiv.org/abs/2211.10277

An example of a method in a file of its own, used without changing this repository:

    python train.py --plugin examples/taskres.py --trainer TaskRes ...
    bash scripts/fewshot.sh TaskRes dtd 16 1 2 3 --data DATA --plugin examples/taskres.py

w_k = w_k^clip + SCALE * r_k (eq. 4), normalised; the residuals r (n_cls, E) start at zero. Unlike the official code:
fp32 residuals at every precision, and the base classifier is zero-shot CLIP's (the paper's "regular base").
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
cfg_default.TRAINER.TASKRES.SCALE = 0.5  # alpha in the paper: weight of the residual
cfg_default.TRAINER.TASKRES.TUNE = ()  # parameter sets of CLIP tuned too


class Residual(nn.Module):
    """One vector per class."""

    def __init__(self, n_cls: int, dim: int):
        super().__init__()
        self.residual = nn.Parameter(torch.zeros(n_cls, dim))


@TRAINER_REGISTRY.register()
class TaskRes(ClipTrainer):
    """L = CE."""

    section = "TASKRES"
    model_name = "taskres"
    per_class = True

    def build_tuned(self, classnames):
        return Residual(len(classnames), self.clip.visual.output_dim)

    def text_features(self):
        text = super().text_features() + self.options.SCALE * self.tuned.residual  # (n_cls, E)
        return F.normalize(text, dim=-1)

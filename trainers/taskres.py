"""TaskRes: adds a learned residual to the text feature of each class. CLIP stays frozen.

Task Residual for Tuning Vision-Language Models, https://arxiv.org/abs/2211.10277

    w_k = t_k + SCALE * x_k  (eq. 4), normalised; the residuals x (n_cls, E) start at zero

The text features t_k are not normalised before the residual is added: their length, about 10 in OpenAI's CLIPs, says
how far a residual turns them. OPTIM.WEIGHT_DECAY is Dassl's 5e-4 (an L2 penalty in Adam), as in the official code.

Deliberate differences from the official code:

- Features of VIEWS augmented views per training image are computed once, and epoch e uses view e modulo VIEWS. The
  official code encodes a new crop in each epoch. CLAP's implementation of TaskRes has 20 views, too.
- The residuals and the classifier are fp32 at every precision.
- The text features are those of CLIP (the paper's "regular base"). The "enhanced base" needs weights of another run.
- Classes that it was not trained on have no residual: they are predicted as by zero-shot CLIP. The paper matches the
  classes of ImageNet's variants with ImageNet's, as is done here, and covers no others.
"""

import torch
import torch.nn.functional as F
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.feature_trainer import FeatureTrainer

cfg_default.TRAINER.TASKRES = CN()
cfg_default.TRAINER.TASKRES.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.TASKRES.SCALE = 0.5  # weight of the residuals; alpha in the paper
cfg_default.TRAINER.TASKRES.VIEWS = 20  # augmented views per training image
cfg_default.TRAINER.TASKRES.TUNE = ()  # parameter sets of CLIP tuned too


class Residuals(nn.Module):
    """One residual vector per class: (n_cls, E)."""

    def __init__(self, n_cls: int, dim: int):
        super().__init__()
        self.residual = nn.Parameter(torch.zeros(n_cls, dim))


@TRAINER_REGISTRY.register()
class TaskRes(FeatureTrainer):
    """TaskRes's trainer: minimises CE."""

    section = "TASKRES"
    model_name = "taskres"
    zero_shot_on_new_classes = True

    def build_tuned(self, classnames):
        return Residuals(len(classnames), self.backbone.dim)

    def text_features(self):
        base = self.raw_text_features()
        residual = self.of_classes(self.tuned.residual, torch.zeros_like(base))
        return F.normalize(base + self.options.SCALE * residual, dim=-1)

"""Zero-shot CLIP: the class whose prompt's feature is nearest to the image's. Nothing is tuned.

Learning Transferable Visual Models From Natural Language Supervision, https://arxiv.org/abs/2103.00020

Run it with --eval-only. Differences from CoOp's version: it runs in the precision of TRAINER.ZEROSHOT.PREC, and the
ensemble is normalised again after the mean over templates.
"""

import torch
import torch.nn.functional as F
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.prompts import SELECTED_TEMPLATES
from .common.trainer import ClipTrainer

cfg_default.TRAINER.ZEROSHOT = CN()
cfg_default.TRAINER.ZEROSHOT.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp


@TRAINER_REGISTRY.register()
class ZeroshotCLIP(ClipTrainer):
    """One prompt a class."""

    section = "ZEROSHOT"
    trainable = False
    zero_shot = True

    def train(self):
        print("Zero-shot CLIP has nothing to train, evaluating it")
        self.test()


@TRAINER_REGISTRY.register()
class ZeroshotCLIP2(ZeroshotCLIP):
    """Mean of the features of seven ImageNet templates and, elsewhere than on ImageNet, the dataset's own."""

    def text_features(self) -> torch.Tensor:
        templates = list(SELECTED_TEMPLATES)
        if self.cfg.DATASET.NAME != "ImageNet":
            templates.append(self.template)
        classnames = list(self.dm.dataset.classnames)
        features = [self.encode_text(self.pack_prompts(classnames, template)) for template in templates]
        return F.normalize(torch.stack(features).mean(0), dim=-1)

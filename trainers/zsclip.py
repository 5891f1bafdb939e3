"""Zero-shot CLIP: predicts the class whose text feature is most similar to the image feature. Nothing is tuned.

Learning Transferable Visual Models From Natural Language Supervision, https://arxiv.org/abs/2103.00020

Run it with --eval-only. Differences from CoOp's version: it runs at the precision TRAINER.ZEROSHOT.PREC, and the mean
over the prompt ensemble is normalised again.
"""

from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.models.zero_shot_reference import comparison
from .common.prompts import SELECTED_TEMPLATES
from .common.trainer import ClipTrainer

cfg_default.TRAINER.ZEROSHOT = CN()
cfg_default.TRAINER.ZEROSHOT.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp


@TRAINER_REGISTRY.register()
class ZeroshotCLIP(ClipTrainer):
    """Zero-shot CLIP with one prompt per class."""

    section = "ZEROSHOT"
    trainable = False
    zero_shot = True

    def train(self):
        print("Zero-shot CLIP has no trainable parameters: evaluating it")
        self.test()

    def test(self, split=None):
        accuracy = super().test(split)
        if (split or self.cfg.TEST.SPLIT) == "test" and self.cfg.DATASET.SUBSAMPLE_CLASSES == "all":
            line = comparison(self.cfg.MODEL.BACKBONE.NAME, self.cfg.DATASET.NAME, accuracy)
            if line:
                print(line)
        return accuracy


@TRAINER_REGISTRY.register()
class ZeroshotCLIP2(ZeroshotCLIP):
    """Zero-shot CLIP with a prompt ensemble: seven ImageNet templates, plus the dataset's own if it is not ImageNet."""

    def prompt_templates(self):
        if self.cfg.DATASET.TEMPLATES or self.cfg.DATASET.DESCRIPTIONS_DIGEST:
            return super().prompt_templates()
        own = () if self.cfg.DATASET.NAME == "ImageNet" else (self.template,)
        return (*SELECTED_TEMPLATES, *own)

"""ProLIP: fine-tunes the projection that ends the image encoder, on features that are computed once.

CLIP's Visual Embedding Projector is a Few-shot Cornucopia, https://arxiv.org/abs/2410.05270

    loss = CE + lambda ||W - W0||^2  (eq. 5), for the projection W (768 x 512 in a ViT-B/16) and CLIP's own W0

Lambda is 1 / shots, which needs no validation images (table 2 of the paper). Training is 300 steps of Adam, with the
official epsilon of 1e-4, on all images at once; step e uses view e modulo VIEWS of each image. Of a ResNet the weight
of the attention pooling's output projection is tuned, without its bias, as in the official code.

The result is an ordinary CLIP with another projection, so it can be exported as one, and predicts any class.

Deliberate differences from the official code:

- The projection is an fp32 master. In fp16, as in the official code, a learning rate of 1e-5 changes only about a third
  of its elements.
- The factor of the logits is CLIP's logit scale instead of 100.
- ImageNet has one prompt, like all datasets.
- Other parameters of CLIP can be tuned too (TRAINER.PROLIP.TUNE "('image_projection','image_layernorm')"). If they
  are in the image encoder, each step encodes a batch of images. The second term holds the projection only.
"""

import torch
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.feature_trainer import FeatureTrainer, ViewLoader

cfg_default.TRAINER.PROLIP = CN()
cfg_default.TRAINER.PROLIP.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.PROLIP.LAMBDA = -1.0  # weight of the distance to CLIP's projection; -1: 1 / shots
cfg_default.TRAINER.PROLIP.VIEWS = 300  # augmented views per training image
cfg_default.TRAINER.PROLIP.TUNE = ("image_projection",)  # names of parameter sets


class WholeLoader(ViewLoader):
    """One batch of all images per epoch."""

    def __init__(self, trainer, images):
        super().__init__(trainer, images)
        self.batches = [list(range(len(images.dataset.data_source)))]


@TRAINER_REGISTRY.register()
class ProLIP(FeatureTrainer):
    """ProLIP's trainer: minimises CE and the distance to CLIP's projection."""

    section = "PROLIP"
    model_name = "prolip"

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        weight = cfg.TRAINER.PROLIP.LAMBDA
        if weight != -1 and weight < 0:
            raise ValueError(f"TRAINER.PROLIP.LAMBDA must be at least 0, or -1 for 1 / shots, got {weight}")

    def build_clip(self, classnames):
        super().build_clip(classnames)
        self.held = [name for name in self.clip_names if name in self.projection]

    def make_optimizer(self):
        """Returns the optimiser with the official code's eps of 1e-4, if it has one, and the schedule."""
        optim, schedule = super().make_optimizer()
        for group in optim.param_groups:
            if "eps" in group:
                group["eps"] = 1e-4
        return optim, schedule

    @property
    def weight(self) -> float:
        """Lambda: LAMBDA, or 1 / shots. With all images of uneven classes, shots is their mean number."""
        if self.options.LAMBDA != -1:
            return self.options.LAMBDA
        shots = self.cfg.DATASET.NUM_SHOTS
        return 1 / shots if shots >= 1 else self.num_classes / len(self.dm.dataset.train_x)

    def losses(self, image, label):
        logits, terms = super().losses(image, label)
        if not self.held:
            return logits, terms
        changes = [self.tuned.get_parameter(n) - self.clip.get_parameter(n).float() for n in self.held]
        distance = torch.stack([change.square().sum() for change in changes]).sum()
        return logits, {**terms, "distance": self.weight * distance}

    def training_loader(self, images):
        return WholeLoader(self, images)

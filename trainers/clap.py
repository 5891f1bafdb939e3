"""CLAP: a linear probe that is kept near the text features, more so for classes that zero-shot CLIP predicts well.

A Closer Look at the Few-Shot Adaptation of Large Vision-Language Models, https://arxiv.org/abs/2312.12730

    loss = CE + mean over classes of lambda_k ||w_k - t_k||^2  (eqs. 8 and 9)

The weights w_k start as the text features t_k, which are not normalised. Logits are cosine similarities times the logit
scale. The multiplier lambda_k is the mean probability that zero-shot CLIP gives to class k on its training images.

As in the official code, features of 20 augmented views per training image are computed once, and an epoch is a random
sample of these, of as many batches as the training images make.

Deliberate differences from the official code:

- The weights are fp32 at every precision; the official code computes features in fp32 whatever its precision key says.
- It measures the accuracy on test images in each step, and its grid search selects by it. Here no test image is used.
- Classes that it was not trained on are predicted by their text features. The paper matches the classes of ImageNet's
  variants with ImageNet's, as is done here, and covers no others.
"""

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.feature_trainer import FeatureTrainer, ViewLoader, labels_of

cfg_default.TRAINER.CLAP = CN()
cfg_default.TRAINER.CLAP.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.CLAP.VIEWS = 20  # augmented views per training image
cfg_default.TRAINER.CLAP.TUNE = ()  # image parameter sets of CLIP tuned too


class Prototypes(nn.Module):
    """The weights (n_cls, E) of the classifier, and the multiplier of each class (n_cls,)."""

    def __init__(self, n_cls: int, dim: int):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(n_cls, dim))
        self.register_buffer("multipliers", torch.ones(n_cls))  # until they are measured on the training images


class PooledLoader(ViewLoader):
    """Batches from all views of all images, as many of them as the images have."""

    def __iter__(self) -> Iterator[dict]:
        features, labels = self.features.flatten(0, 1), self.labels.repeat(len(self.features))
        for index in torch.randperm(len(features)).split(self.images.batch_size)[: len(self)]:
            yield {"img": features[index], "label": labels[index]}


@TRAINER_REGISTRY.register()
class CLAP(FeatureTrainer):
    """CLAP's trainer: minimises CE and the constraint."""

    section = "CLAP"
    image_only = True
    model_name = "clap"
    zero_shot_on_new_classes = True

    def build_tuned(self, classnames):
        return Prototypes(len(classnames), self.backbone.dim)

    def build_clip(self, classnames):
        super().build_clip(classnames)
        self.tuned.weight.data = self.raw_zero_shot().clone()

    def text_features(self):
        return F.normalize(self.of_classes(self.tuned.weight, self.raw_zero_shot()), dim=-1)

    def losses(self, image, label):
        logits, terms = super().losses(image, label)
        with torch.autocast(self.device.type, enabled=False):
            distance = (self.tuned.weight - self.raw_zero_shot()).square().sum(-1)  # (n_cls,)
            return logits, {**terms, "constraint": (self.tuned.multipliers * distance).mean()}

    def training_loader(self, images):
        return PooledLoader(self, images)

    def before_train(self):
        super().before_train()
        if self.start_epoch == 0:
            items = self.dm.dataset.train_x
            self.tuned.multipliers.copy_(self.zero_shot_confidence(items))
            low, high = self.tuned.multipliers.aminmax()
            print(f"Multipliers of the constraint: {low:.3f} to {high:.3f}, zero-shot CLIP's probabilities")

    @torch.no_grad()
    def zero_shot_confidence(self, items) -> torch.Tensor:
        """Returns the mean probability (n_cls,) of each class on its images, over all views."""
        labels = labels_of(items).to(self.device)
        sums, views = self.tuned.multipliers.new_zeros(self.num_classes), self.stored(items, self.n_views)
        for view in views:
            features = self.encode_image(view.to(self.device), tuned=False)
            probabilities = self.zero_shot_logits(features).softmax(-1)
            sums.index_add_(0, labels, probabilities.gather(1, labels[:, None]).squeeze(1))
        return sums / (len(views) * labels.bincount(minlength=self.num_classes))

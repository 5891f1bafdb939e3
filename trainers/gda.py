"""GDA: adds the logits of a Gaussian classifier, in closed form, to zero-shot logits. No training.

A Hard-to-Beat Baseline for Training-free CLIP-based Adaptation, https://arxiv.org/abs/2402.04087

    logits = scale * f t + alpha (f W + b),   w_k = P m_k,   b_k = -m_k P m_k / 2  (eqs. 4 to 8)

for a normalised image feature f, text features t, the mean features m_k of the classes, and the precision matrix P of
the covariance S that they share. All augmented views are training images. Alpha is searched on validation images.

The mean of all m_k is subtracted from f and m_k. This changes the logits of an image by a constant, and no prediction.
Otherwise large numbers would cancel in fp32: f W + b is small, and its terms are not, above all with COVARIANCE plain.

COVARIANCE says how P is estimated from n features of length E:

- shrunk: E ((n - 1) S + trace(S) I)^-1, in the paper's few-shot experiments.
- plain: the pseudo-inverse of the mean of the classes' covariances, in the code of its base-to-new experiments.

NEW_CLASSES says how classes that it was not trained on are predicted:

- synthesised: a class gets the mean of its text feature and of the NEIGHBOURS training features nearest to it, and the
  mean of the classes' shrunk precisions around their text features, as in the paper's base-to-new experiments. The
  checkpoint holds the training features. If a run has such classes, all of its classes are synthesised.
- zero_shot: all logits are zero-shot CLIP's, if a run has such classes.

Deliberate differences from the official code:

- Means, covariances and inverses are fp64. With `plain`, fp32 and fp64 differ.
- On ImageNet the official code searches alpha on the test images. Here, without validation images, it is ALPHA.
- It searches on all validation images; here there are up to four per class, as for all methods.
- The scale is CLIP's logit scale instead of 100. ImageNet has one prompt, like all datasets.
"""

import torch
import torch.nn.functional as F
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.feature_trainer import FeatureTrainer, labels_of
from .common.finite import LogitsCheck
from .common.selective import UNSEEN

cfg_default.TRAINER.GDA = CN()
cfg_default.TRAINER.GDA.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.GDA.COVARIANCE = "shrunk"  # shrunk or plain
cfg_default.TRAINER.GDA.NEW_CLASSES = "zero_shot"  # zero_shot or synthesised
cfg_default.TRAINER.GDA.NEIGHBOURS = 64  # training features that a new class is synthesised from
cfg_default.TRAINER.GDA.ALPHA = 1.0  # weight of the Gaussian classifier, if there are no validation images
cfg_default.TRAINER.GDA.ALPHAS = (0.0001, 0.001, 0.01, 0.1, 1.0, 10.0, 100.0)  # values searched; of equals the first
cfg_default.TRAINER.GDA.VIEWS = 10  # augmented views per training image
TOO_FEW = (
    "GDA needs at least two different features per class: raise DATASET.NUM_SHOTS, or add a random transform to "
    "INPUT.TRANSFORMS and raise TRAINER.GDA.VIEWS"
)
TEXT_COPIES = 16  # of a new class's text feature, in its mean with its neighbours


class Gaussian(nn.Module):
    """A Gaussian classifier of centred features, its alpha, and training features (m, E) for other classes.

    The classifier has a weight (n_cls, E), a bias (n_cls,) and the centre (E,).
    """

    def __init__(self, n_cls: int, dim: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(n_cls, dim))
        self.register_buffer("bias", torch.zeros(n_cls))
        self.register_buffer("centre", torch.zeros(dim))
        self.register_buffer("alpha", torch.tensor(0.0))
        self.register_buffer("features", torch.zeros(0, dim))


@TRAINER_REGISTRY.register()
class GDA(FeatureTrainer):
    """GDA's trainer. Instead of training, it computes the classifier and searches alpha."""

    section = "GDA"
    model_name = "gda"
    trainable = False
    choices = {"COVARIANCE": ("shrunk", "plain"), "NEW_CLASSES": ("zero_shot", "synthesised")}
    searches_on_val = True

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.GDA
        if options.NEIGHBOURS < 2:
            raise ValueError(f"TRAINER.GDA.NEIGHBOURS must be at least 2, got {options.NEIGHBOURS}")
        if options.ALPHA <= 0 or not options.ALPHAS or min(options.ALPHAS) <= 0:
            raise ValueError(
                f"TRAINER.GDA.ALPHA and ALPHAS must be above 0, got {options.ALPHA} and {tuple(options.ALPHAS)}"
            )
        self.zero_shot_on_new_classes = options.NEW_CLASSES == "zero_shot"
        self.about_unseen = "all classes are predicted by zero-shot CLIP"
        if not self.zero_shot_on_new_classes:
            self.about_unseen = "all classes are synthesised from the features of the training images"

    def build_tuned(self, classnames):
        return Gaussian(len(classnames), self.backbone.dim)

    def before_load(self, state):
        super().before_load(state)
        if UNSEEN in self.rows and not self.zero_shot_on_new_classes and not len(self.tuned.features):
            raise ValueError(
                "TRAINER.GDA.NEW_CLASSES synthesised needs a run that was trained with it, whose checkpoint holds the "
                "training features: train it so, or set zero_shot"
            )

    def tuned_changed(self):
        super().tuned_changed()
        self.of_run = None  # the classifier of this run's classes, in evaluation

    def logits(self, image_features, text_features):
        if self.of_run is None:
            self.of_run = self.classifier(text_features)
        weight, bias, centre = self.of_run
        with torch.autocast(self.device.type, enabled=False):
            added = F.linear(image_features - centre, weight, bias)
        return super().logits(image_features, text_features) + self.tuned.alpha * added

    @torch.no_grad()
    def classifier(self, text: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Returns weight, bias and centre for this run's classes, given their text features (n_cls, E)."""
        if UNSEEN not in self.rows:
            index = torch.tensor(self.rows, device=text.device)
            return self.tuned.weight[index], self.tuned.bias[index], self.tuned.centre
        if self.zero_shot_on_new_classes:
            return torch.zeros_like(text), text.new_zeros(len(text)), self.tuned.centre
        found = synthesised(self.tuned.features.double(), text.double(), self.options.NEIGHBOURS)
        return tuple(tensor.to(text) for tensor in found)

    def check_training(self):
        super().check_training()
        images = labels_of(self.dm.dataset.train_x).bincount(minlength=self.num_classes)
        if images.min() * max(self.n_views, 1) < 2:
            raise ValueError(TOO_FEW)

    def run_epoch(self):
        views, labels = self.projected(self.dm.dataset.train_x, self.n_views)
        features, labels = views.flatten(0, 1), labels.repeat(len(views))
        with torch.autocast(self.device.type, enabled=False):
            means, precision = estimate(features.double(), labels, self.num_classes, self.options.COVARIANCE)
            found = gaussian_classifier(means, precision)
        for name, tensor in zip(("weight", "bias", "centre"), found, strict=True):
            getattr(self.tuned, name).copy_(tensor)
        if not self.zero_shot_on_new_classes:
            self.tuned.features = features
        self.search_alpha()
        self.tuned_changed()

    @torch.no_grad()
    def search_alpha(self) -> None:
        """Sets alpha to the one of ALPHAS with the best validation accuracy; in a tie, to the first one."""
        if not self.has_validation():
            self.tuned.alpha.fill_(self.options.ALPHA)
            print(f"No validation images: alpha stays at {self.options.ALPHA:g}")
            return
        (features,), labels = self.projected(self.dm.dataset.val)
        zero_shot = super().logits(features, self.text_features())
        added = F.linear(features - self.tuned.centre, self.tuned.weight, self.tuned.bias)
        check = LogitsCheck()
        check.add(added)
        check.check()
        correct = [int(((zero_shot + alpha * added).argmax(-1) == labels).sum()) for alpha in self.options.ALPHAS]
        alpha = self.options.ALPHAS[correct.index(max(correct))]
        self.tuned.alpha.fill_(alpha)
        accuracy = 100 * max(correct) / len(labels)
        print(f"Chosen on {len(labels):,} validation images: alpha {alpha:g}, accuracy {accuracy:.2f}%")


def estimate(features: torch.Tensor, labels: torch.Tensor, n_cls: int, covariance: str) -> tuple:
    """Returns the means (n_cls, E) of the classes and the precision matrix (E, E) that they share.

    Raises:
        ValueError: the features of a class do not vary, so that there is no covariance.
    """
    groups = [features[labels == label] for label in range(n_cls)]
    means = torch.stack([group.mean(0) for group in groups])
    centred = features - means[labels]
    if not centred.any():
        raise ValueError(TOO_FEW)
    if covariance == "plain":
        return means, torch.linalg.pinv(torch.stack([group.t().cov() for group in groups]).mean(0), hermitian=True)
    return means, shrunk_precision(centred - centred.mean(0))


def shrunk_precision(centred: torch.Tensor) -> torch.Tensor:
    """Returns E ((n - 1) S + trace(S) I)^-1 (E, E) for the covariance S of n centred features (n, E)."""
    n, dim = centred.shape
    scatter = centred.t() @ centred  # (n - 1) S
    identity = torch.eye(dim, dtype=centred.dtype, device=centred.device)
    return dim * torch.linalg.inv(scatter + scatter.trace() / (n - 1) * identity)


def gaussian_classifier(means: torch.Tensor, precision: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Returns weight (n_cls, E), bias (n_cls,) and centre (E,) for classes that are equally likely."""
    centre = means.mean(0)
    weight = (means - centre) @ precision
    return weight, -(weight * (means - centre)).sum(-1) / 2, centre


def synthesised(features: torch.Tensor, text: torch.Tensor, neighbours: int) -> tuple[torch.Tensor, ...]:
    """Returns the classifier of new classes, given training features (m, E) and their text features (n_cls, E)."""
    means, precision = [], torch.zeros(text.shape[1], text.shape[1]).to(text)
    for t in text:
        nearest = features[(features @ t).topk(min(neighbours, len(features))).indices]
        means.append(torch.cat([nearest, t.expand(TEXT_COPIES, -1)]).mean(0))
        precision += shrunk_precision(nearest - t) / len(text)
    return gaussian_classifier(torch.stack(means), precision)

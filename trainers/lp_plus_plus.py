"""LP++: a linear classifier on image features, added to weighted zero-shot logits. Its step sizes are closed forms.

LP++: A Surprisingly Strong Linear Probe for Few-Shot CLIP, https://arxiv.org/abs/2404.02285

    logit of class k = w_k f + b_k + alpha_k t_k f  (eq. 5)

for a normalised image feature f and text feature t_k. CE over all n training images is minimised in STEPS steps:

- W and b: gradient descent with momentum 0.9 and the step size 4 n / (largest eigenvalue of F^T F), for the features F
  (n, E).
- alpha: every 10th step, with the step size n / (4 max_k sum_i (t_k f_i)^2).
- Start: w_k is the sum of the features of class k, b is that of a linear layer in PyTorch, and every alpha is 250 times
  the mean cosine similarity of an image and its class.

After each step the accuracy on the validation images is measured. The best step is kept, the last one of equals, as in
the official code. Without validation images the last step is kept.

As in the official code, alpha's gradient is never set to zero: each of its steps uses the sum of all gradients so far.
TRAINER.LP_PLUS_PLUS.ACCUMULATE False uses the gradient of the current step.

Deliberate differences from the official code:

- It computes in fp16. Here features have the run's precision, and everything else is fp32.
- It has as many validation images per class as training images; here there are up to four, as for all methods.
- ImageNet has one prompt, like all datasets.
- Classes that it was not trained on have neither w nor alpha, and the logits of the others are on another scale. If
  there are such classes, all logits are zero-shot CLIP's. The paper has no such classes.
"""

import torch
import torch.nn.functional as F
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.feature_trainer import FeatureTrainer
from .common.finite import LogitsCheck
from .common.selective import UNSEEN

cfg_default.TRAINER.LP_PLUS_PLUS = CN()
cfg_default.TRAINER.LP_PLUS_PLUS.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.LP_PLUS_PLUS.STEPS = 300  # each on all training images
cfg_default.TRAINER.LP_PLUS_PLUS.ACCUMULATE = True  # alpha's steps use the sum of all gradients so far
cfg_default.TRAINER.LP_PLUS_PLUS.VIEWS = 1  # augmented views per training image; all are training images
ALPHA_EVERY = 10  # steps of W and b per step of alpha


class Mixture(nn.Module):
    """Weight (n_cls, E), bias (n_cls,) and alpha (n_cls,): the weight of the zero-shot logits."""

    def __init__(self, n_cls: int, dim: int):
        super().__init__()
        self.register_buffer("weight", torch.zeros(n_cls, dim))
        self.register_buffer("bias", torch.zeros(n_cls))
        self.register_buffer("alpha", torch.zeros(n_cls))


@TRAINER_REGISTRY.register()
class LPPlusPlus(FeatureTrainer):
    """LP++'s trainer. Fits the classifier once, to all training images."""

    section = "LP_PLUS_PLUS"
    model_name = "lp_plus_plus"
    trainable = False
    searches_on_val = True
    zero_shot_on_new_classes = True
    about_unseen = "all classes are predicted by zero-shot CLIP"

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        steps = cfg.TRAINER.LP_PLUS_PLUS.STEPS
        if steps < 1:
            raise ValueError(f"TRAINER.LP_PLUS_PLUS.STEPS must be at least 1, got {steps}")

    def build_tuned(self, classnames):
        return Mixture(len(classnames), self.backbone.dim)

    def build_clip(self, classnames):
        super().build_clip(classnames)
        self.tuned.alpha.fill_(self.backbone.logit_scale.item())  # zero-shot CLIP until it is fitted

    def logits(self, image_features, text_features):
        """Returns logits (B, n_cls) as those of one linear classifier, with the weights w_k + alpha_k t_k."""
        head = self.tuned
        index = torch.tensor(self.rows, device=text_features.device)
        weight, bias, alpha = head.weight[index], head.bias[index], head.alpha[index]
        if UNSEEN in self.rows:
            weight, bias = torch.zeros_like(weight), torch.zeros_like(bias)
            alpha = torch.full_like(alpha, self.backbone.logit_scale.item())
        with torch.autocast(self.device.type, enabled=False):
            return F.linear(image_features, weight + alpha[:, None] * text_features, bias)

    def run_epoch(self):
        features, labels = self.projected(self.dm.dataset.train_x, self.n_views)
        train = features.flatten(0, 1), labels.repeat(len(features))
        val = None
        if self.has_validation():
            (val_features,), val_labels = self.projected(self.dm.dataset.val)
            val = val_features, val_labels
        with torch.autocast(self.device.type, enabled=False):
            self.fit_head(train, val)
        self.tuned_changed()

    def fit_head(self, train: tuple, val: tuple | None) -> None:
        """Sets the head to the best step on validation images. `train` and `val`: features (n, E) and labels (n,)."""
        features, labels = train
        text = self.text_features()
        weight, bias, alpha = self.initial(features, labels, text)
        step_size, alpha_step_size = step_sizes(features, text)
        optim = torch.optim.SGD([weight, bias], step_size, momentum=0.9)
        best, best_step, check = -1, 0, LogitsCheck()
        for step in range(1, self.options.STEPS + 1):
            logits = F.linear(features, weight, bias) + alpha * (features @ text.t())
            check.add(logits.detach())
            optim.zero_grad()
            if not self.options.ACCUMULATE:
                alpha.grad = None
            F.cross_entropy(logits, labels).backward()
            optim.step()
            if step % ALPHA_EVERY == 0:
                alpha.data -= alpha_step_size * alpha.grad
            correct = 0
            if val is not None:
                with torch.no_grad():
                    predicted = (F.linear(val[0], weight, bias) + alpha * (val[0] @ text.t())).argmax(-1)
                correct = int((predicted == val[1]).sum())
            if correct >= best:
                best, best_step = correct, step
                for name, tensor in (("weight", weight), ("bias", bias), ("alpha", alpha)):
                    getattr(self.tuned, name).copy_(tensor.detach())
        check.check()
        if val is None:
            print(f"No validation images: step {best_step}, the last one, is kept")
        else:
            accuracy = 100 * best / len(val[1])
            print(f"Chosen on {len(val[1]):,} validation images: step {best_step}, accuracy {accuracy:.2f}%")

    def initial(self, features: torch.Tensor, labels: torch.Tensor, text: torch.Tensor) -> tuple:
        """Returns the weight (n_cls, E), bias (n_cls,) and alpha (n_cls,) that the fit starts from."""
        n_cls, dim = text.shape
        sums = torch.zeros_like(text).index_add_(0, labels, features)
        similarity = (sums * text).sum(-1) / labels.bincount(minlength=n_cls)  # mean over the images of a class
        alpha = torch.full((n_cls,), 250 * similarity.mean().item(), device=text.device)
        bias = nn.Linear(dim, n_cls).bias.detach().to(text.device)
        return tuple(tensor.requires_grad_() for tensor in (sums, bias, alpha))


def step_sizes(features: torch.Tensor, text: torch.Tensor) -> tuple[float, float]:
    """Returns the step sizes of W and b, and of alpha, for features (n, E) and text features (n_cls, E)."""
    n = len(features)
    largest = torch.linalg.eigvalsh((features.t() @ features).double())[-1].item()
    similarity = (features @ text.t()).square().sum(0).max().item()
    return 4 * n / largest, n / (4 * similarity)

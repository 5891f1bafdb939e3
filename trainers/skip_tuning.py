"""SkipTuning: fine-tunes the upper half of both encoders on the classes that are near the images of a batch.

Skip Tuning: Pre-trained Vision-Language Models are Effective and Efficient Adapters Themselves,
https://arxiv.org/abs/2412.11509

- Layer-wise skipping: blocks 6 to 11 and what follows them are tuned, 62,099,456 parameters on a ViT-B/16. No gradient
  is computed below.
- Class-wise skipping: in each step, the classes are ordered by their similarity with the nearest image of the batch.
  The first half of them are the classes of the loss; each later one with a probability that decreases exponentially.
  Which positions of the order are kept is random, once per run. Prototypes of the classes are zero-shot text features.

Deliberate differences from the official code:

- It computes the activations before block 6 once per epoch, with the augmentation of that epoch, and keeps them. Here
  each step computes those of its own images, which costs the same; those of the prompts are computed once.
- If a batch has more classes than are kept, its images of the other classes have no loss. The code trains them towards
  the first kept class, which its batches of 4 do not reach.
- Tuned parameters are fp32 masters. The code trains fp16 weights, which many steps at a rate of 2e-5 do not change.
"""

import math

import torch
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.models.text import Start
from .common.trainer import ClipTrainer

cfg_default.TRAINER.SKIP = CN()
cfg_default.TRAINER.SKIP.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.SKIP.TUNE = ("image_block:6-11", "image_output", "text_block:6-11", "text_output")
cfg_default.TRAINER.SKIP.IMAGE_LR = -1.0  # learning rate of the image encoder; -1: OPTIM.LR
cfg_default.TRAINER.SKIP.TOP_RATIO = 0.5  # fraction of the classes that are always kept
cfg_default.TRAINER.SKIP.MAX_TOP = 50  # at most as many
cfg_default.TRAINER.SKIP.LAMBDA = (
    0.3  # scale of the exponential distribution over the other classes, which are at 0 to 5
)


@TRAINER_REGISTRY.register()
class SkipTuning(ClipTrainer):
    """Minimises CE over the nearest classes."""

    section = "SKIP"
    model_name = "skip_tuning"

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.SKIP
        if not 0 < options.TOP_RATIO <= 1 or options.MAX_TOP < 1 or options.LAMBDA <= 0:
            raise ValueError(
                "TRAINER.SKIP.TOP_RATIO must be above 0 and at most 1, MAX_TOP at least 1 and LAMBDA above 0, got "
                f"{options.TOP_RATIO}, {options.MAX_TOP} and {options.LAMBDA}"
            )
        if not (options.IMAGE_LR > 0 or options.IMAGE_LR == -1):
            raise ValueError(f"TRAINER.SKIP.IMAGE_LR must be above 0, or -1 for OPTIM.LR, got {options.IMAGE_LR}")

    def prepare_prompts(self, classnames):
        super().prepare_prompts(classnames)
        if len(self.packed_prompts) > 1 or self.prompt_index.shape[1] > 1:
            raise ValueError(
                "SkipTuning trains with one prompt per class: set DATASET.TEMPLATE, not DATASET.TEMPLATES or "
                "DATASET.DESCRIPTIONS"
            )
        prompts = [own[0] for own in self.prompts]
        self.tokens = self.text_encoder.trim(self.text_encoder.tokenizer(prompts)).to(self.device)  # (n_cls, L)
        self.train_start = None  # activations (1, n_cls L, d) of all prompts before the first tuned parameter
        self.kept = kept_positions(len(prompts), self.options, self.cfg.SEED).to(self.device)

    def parameter_groups(self):
        groups = [[], []]  # of the text and the image encoder
        for name in self.clip_names:
            groups[self.backbone.is_image(name)].append(self.tuned.get_parameter(name))
        rate = self.options.IMAGE_LR
        rates = (self.cfg.OPTIM.LR, self.cfg.OPTIM.LR if rate == -1 else rate)
        return [{"params": params, "lr": lr} for params, lr in zip(groups, rates, strict=True) if params]

    def choose_classes(self, image_features: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
        """Returns the classes (K,) of the loss, in ascending order, given normalised image features (B, E)."""
        similarity = self.logits(image_features, self.zero_shot_features())  # (B, n_cls)
        similarity = similarity.scatter(1, label[:, None], float("inf"))  # a class of the batch comes first
        order = similarity.amax(0).argsort(descending=True, stable=True)
        return order[self.kept].sort().values

    def train_text_features(self, classes: torch.Tensor) -> torch.Tensor:
        """Returns normalised text features (K, E) of some classes. The layout depends on K only (CUDA graphs)."""
        pack, tuned = self.text_encoder.pack_equal, self.text_names
        if self.train_start is None:
            with torch.no_grad():
                self.train_start = self.text_encoder.constant_start(pack(self.tokens), tuned) or False
        start = None
        if self.train_start:
            x = self.train_start.x[0].view(len(self.tokens), -1, self.train_start.x.shape[-1])[classes]  # (K, L, d)
            start = Start(self.train_start.blocks, x.flatten(0, 1)[None], self.train_start.bias)
        return self.encode_text(pack(self.tokens[classes]), start=start)

    def losses(self, image, label):
        if len(self.kept) == self.num_classes:
            return super().losses(image, label)
        image_features, label = self.whole_batch(self.encode_image(image)), self.whole_batch(label)
        classes = self.choose_classes(image_features.detach(), label)
        logits = self.logits(image_features, self.train_text_features(classes))  # (B, K)
        is_label = (label[:, None] == classes).to(logits.dtype)
        loss = -(logits.log_softmax(dim=-1) * is_label).sum() / is_label.sum().clamp(min=1)
        lowest = torch.full((len(label), self.num_classes), torch.finfo(logits.dtype).min, device=label.device)
        logits = lowest.scatter(1, classes.expand(len(label), -1), logits.detach())
        return self.own_rows(logits), {"ce": loss}


def kept_positions(n_cls: int, options, seed: int) -> torch.Tensor:
    """Returns the kept positions (K,), from 0, of the classes in the order of their similarity.

    Example: of 10 classes, 0 to 4 are kept always, 5 as well, 6 to 8 with probability exp(-1.25 / 0.3 = -4.2) and less,
    9 never.
    """
    n_top = min(math.ceil(options.TOP_RATIO * n_cls), options.MAX_TOP)
    ratios = torch.ones(n_cls, dtype=torch.float64)
    if n_cls - n_top == 1:
        ratios[n_top] = 0
    elif n_cls > n_top:
        density = torch.exp(-torch.linspace(0, 5, n_cls - n_top, dtype=torch.float64) / options.LAMBDA)
        ratios[n_top:] = (density - density.min()) / (density.max() - density.min())
    chance = torch.rand(n_cls, dtype=torch.float64, generator=torch.Generator().manual_seed(max(seed, 0)))
    return (chance < ratios).nonzero().flatten()

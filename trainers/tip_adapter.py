"""Tip-Adapter: adds cache logits, from the features of the training images, to zero-shot logits. No training.

Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification, https://arxiv.org/abs/2207.09519

    logits = scale * f w + alpha * cache logits
    cache logits of a class = sum over its keys k of exp(-beta (1 - f k))

for an image feature f, text features w and cached features (keys) k, all normalised.

Deliberate differences from the official code:

- Alpha and beta are searched on validation images, never on test images. Without validation images (ImageNet) they
  stay at the config's ALPHA and BETA.
- The scale is CLIP's logit scale instead of 100.
- ImageNet has one prompt, like all datasets. Few-shot sampling and splits are those of the other methods here.
- Keys are fp32.

Classes without cached images occur in base-to-new; the paper does not cover them. Their cache logits are zero, and
cache logits are never negative, so the model would favour classes with cached images. The cache is therefore used only
if every class has cached images. Otherwise the logits are zero-shot CLIP's, which is logged. Classes are matched by
name, so a cache filled on ImageNet works on its variants. If several classes have the same name, the first is matched
with the first, and so on.
"""

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.cached_features import ordered_loader
from .common.classes import numbered
from .common.distributed import rows_of_all
from .common.finite import LogitsCheck
from .common.runs.checkpoint import shorten
from .common.trainer import ClipTrainer

cfg_default.TRAINER.TIP = CN()
cfg_default.TRAINER.TIP.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.TIP.ALPHA = 1.17  # weight of the cache logits in training, and if there are no validation images
cfg_default.TRAINER.TIP.BETA = 1.0  # sharpness of the cache logits; used when ALPHA is
cfg_default.TRAINER.TIP.SEARCH_SCALE = (7.0, 3.0)  # upper limits of the search: (beta, alpha)
cfg_default.TRAINER.TIP.SEARCH_STEP = (200, 20)  # number of values searched: (beta, alpha)
cfg_default.TRAINER.TIP.AUGMENT_EPOCH = 10  # augmented views per training image; the mean of their features is cached
cfg_default.TRAINER.TIP.TUNE = ()  # TipAdapterF: parameter sets of CLIP tuned too


class Cache(nn.Module):
    """The cache: features (keys) and labels of n training images, and the alpha and beta in use."""

    def __init__(self, n: int, dim: int, trainable: bool):
        super().__init__()
        self.keys = nn.Parameter(torch.zeros(n, dim), requires_grad=trainable)
        self.register_buffer("labels", torch.zeros(n, dtype=torch.long))
        self.register_buffer("alpha", torch.tensor(0.0))  # no cache logits until the cache is filled
        self.register_buffer("beta", torch.tensor(0.0))

    def fill(self, keys: torch.Tensor, labels: torch.Tensor) -> None:
        """Sets keys (n, E) and labels (n,), for any n. `keys` remains the parameter that the optimiser holds."""
        self.keys.data = keys.to(self.keys)
        self.labels = labels.to(self.labels)

    def set_alpha_beta(self, alpha: float, beta: float) -> None:
        self.alpha.fill_(alpha)
        self.beta.fill_(beta)

    def affinity(self, features: torch.Tensor) -> torch.Tensor:
        """Returns cosine similarities (B, n) of image features (B, E) with the keys."""
        return features @ self.keys.t()

    def cache_logits(self, affinity: torch.Tensor, beta: torch.Tensor | float, n_cls: int) -> torch.Tensor:
        """Returns cache logits (B, n_cls) for affinities (B, n).

        Example: labels (0, 0, 2), beta 1, affinities (1, 1, 0), 3 classes: the logits are (1 + 1, 0, exp(-1)).
        """
        weights = torch.exp(-beta * (1 - affinity))  # (B, n)
        return weights.new_zeros(affinity.shape[0], n_cls).index_add(1, self.labels, weights)


@TRAINER_REGISTRY.register()
class TipAdapter(ClipTrainer):
    """Tip-Adapter's trainer. Instead of training, it fills the cache and searches alpha and beta."""

    section = "TIP"
    one_image_feature = True
    model_name = "tip_adapter"
    trainable = False
    searches_on_val = True
    zero_shot_on_new_classes = True

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.TIP
        for name in ("ALPHA", "BETA", "AUGMENT_EPOCH"):
            if options[name] <= 0:
                raise ValueError(f"TRAINER.TIP.{name} must be positive, got {options[name]}")
        for name in ("SEARCH_SCALE", "SEARCH_STEP"):
            if len(options[name]) != 2 or min(options[name]) <= 0:
                raise ValueError(f"TRAINER.TIP.{name} must be two positive numbers, got {tuple(options[name])}")
        if options.TUNE and not self.trainable:
            raise ValueError(
                f"TRAINER.TIP.TUNE must be empty for TipAdapter, which trains nothing, got {tuple(options.TUNE)}; "
                "use TipAdapterF"
            )

    def build_tuned(self, classnames):
        return Cache(len(self.dm.dataset.train_x), self.backbone.dim, self.trainable)

    def logits(self, image_features, text_features):
        cache = self.tuned
        if cache.training:
            alpha, beta = self.options.ALPHA, self.options.BETA
        else:
            alpha, beta = cache.alpha, cache.beta
        with torch.autocast(self.device.type, enabled=False):
            cache_logits = cache.cache_logits(cache.affinity(image_features), beta, len(text_features))
        return super().logits(image_features, text_features) + alpha * cache_logits

    def run_epoch(self):
        self.fill_cache()
        self.search_alpha_beta()

    @torch.no_grad()
    def fill_cache(self):
        """Fills the cache. A key is the normalised mean of frozen CLIP's features over augmented views of an image."""
        images = self.dm.dataset.train_x
        n_views = self.options.AUGMENT_EPOCH
        loader = ordered_loader(self.cfg, images, augment=True)
        self.load_shares(loader)
        features = 0
        for _ in tqdm(range(n_views), desc="cache", disable=None):
            parts = []
            for batch in map(self.take_share, loader):
                with self.autocast():
                    view = self.image_features(self.parse_batch_test(batch)[0], tuned=False)
                n = len(view) if self.share is None else self.share.n
                parts.append((batch["index"][:n], view[:n]))
            features = features + rows_of_all(parts, len(images), self.device)  # (n, E)
        self.tuned.fill(F.normalize(features, dim=-1), torch.tensor([item.label for item in images]))
        self.tuned.set_alpha_beta(self.options.ALPHA, self.options.BETA)
        print(f"Cache: {len(images):,} images of {self.num_classes} classes, {n_views} views per image")

    @torch.no_grad()
    def search_alpha_beta(self):
        """Sets alpha and beta by grid search to the pair with the best validation accuracy; in a tie, to the first one.

        Example: SEARCH_SCALE (7, 3) and SEARCH_STEP (3, 2) search beta in (0.1, 2.4, 4.7) and alpha in (0.1, 1.55).
        correct = [[5, 6],
                   [8, 7],
                   [8, 4]]  (a row per beta, a column per alpha) gives beta 2.4 and alpha 0.1.
        """
        if not self.has_validation():
            print(f"No validation images: alpha stays at {self.options.ALPHA}, beta at {self.options.BETA}")
            return
        max_beta, max_alpha = self.options.SEARCH_SCALE
        n_beta, n_alpha = self.options.SEARCH_STEP
        betas = [0.1 + i * (max_beta - 0.1) / n_beta for i in range(n_beta)]
        alphas = torch.tensor([0.1 + i * (max_alpha - 0.1) / n_alpha for i in range(n_alpha)], device=self.device)
        correct = torch.zeros(n_beta, n_alpha, device=self.device)  # number of correct predictions
        total = 0
        logits_check = LogitsCheck()
        self.set_model_mode("eval")
        for batch in self.val_loader:
            image, label = self.parse_batch_test(batch)
            with self.autocast():
                features = self.encode_image(image)
                text = self.text_features()
            zero_shot = super().logits(features, text)
            affinity = self.tuned.affinity(features)
            logits_check.add(zero_shot)
            logits_check.add(affinity)
            for i, beta in enumerate(betas):
                cache_logits = self.tuned.cache_logits(affinity, beta, len(text))  # (B, n_cls)
                logits = zero_shot + alphas[:, None, None] * cache_logits  # (n_alpha, B, n_cls)
                correct[i] += (logits.argmax(-1) == label).sum(-1)
            total += len(label)
        logits_check.check()
        best = correct.flatten().tolist().index(correct.max().item())
        alpha = alphas[best % n_alpha].item()
        beta = betas[best // n_alpha]
        self.tuned.set_alpha_beta(alpha, beta)
        accuracy = 100 * correct.max().item() / total
        print(f"Chosen on {total:,} validation images: alpha {alpha:.3f}, beta {beta:.3f}, accuracy {accuracy:.2f}%")

    def before_load(self, state):
        """Keeps the cached images of this run's classes, matched by name. If a class has none, drops the whole cache.

        Example: saved classes (cat, dog, fox) with labels (0, 1, 2), run's classes (fox, cat): labels become
        (1, -1, 0), and the image of the dog is dropped.
        """
        tensors = state["state_dict"]
        if not {"keys", "labels"} <= tensors.keys():
            return
        classnames = list(self.dm.dataset.classnames)
        saved_classnames = state.get("meta", {}).get("classnames", classnames)
        label_of = {name: label for label, name in enumerate(numbered(classnames))}
        new_labels = [label_of.get(name, -1) for name in numbered(saved_classnames)]
        labels = torch.tensor([new_labels[label] for label in tensors["labels"].tolist()], dtype=torch.long)
        cached = set(labels.tolist())
        uncached = [name for label, name in enumerate(classnames) if label not in cached]
        if uncached:
            print(
                f"No cached images for {len(uncached)} of {len(classnames)} classes ({shorten(uncached)}): "
                "falling back to zero-shot logits"
            )
        keep = (labels >= 0) & (not uncached)
        tensors["keys"], tensors["labels"] = tensors["keys"][keep], labels[keep]
        self.tuned.fill(torch.zeros_like(tensors["keys"]), tensors["labels"])

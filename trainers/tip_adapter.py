"""Tip-Adapter: a cache of the training images' features votes beside zero-shot CLIP, without training.

Tip-Adapter: Training-free Adaption of CLIP for Few-shot Classification, https://arxiv.org/abs/2207.09519

logits = scale * f w + alpha * sum over the cached images of a class of exp(-beta (1 - f k)), for a feature f, text
features w and cached features (keys) k, all normalised.

Differences from the official code, all deliberate: alpha and beta are chosen on validation images, never on test
images, and where there are none (ImageNet) stay at the config's ALPHA and BETA; the scale is CLIP's own instead of 100;
ImageNet has one prompt, like all datasets; sampling and splits are those of all methods here; keys are fp32.

The paper says nothing of classes without cached images, which base-to-new has. They have no votes; and as votes are
never negative, classes with votes would win over those without. So the cache is used only where every class has cached
images; elsewhere the logits are zero-shot CLIP's, and the log says so. Classes are matched by name: a cache made on
ImageNet serves its variants.
"""

import torch
import torch.nn.functional as F
from torch import nn
from tqdm import tqdm
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.data.data_manager import build_data_loader
from dassl.data.transforms import build_transform
from dassl.engine import TRAINER_REGISTRY

from .common.runs.checkpoint import shorten
from .common.trainer import ClipTrainer

cfg_default.TRAINER.TIP = CN()
cfg_default.TRAINER.TIP.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.TIP.ALPHA = 1.17  # weight of the cache, in training and where it cannot be chosen
cfg_default.TRAINER.TIP.BETA = 1.0  # sharpness of the cache, likewise
cfg_default.TRAINER.TIP.SEARCH_SCALE = (7.0, 3.0)  # alpha and beta are chosen below these: (of beta, of alpha)
cfg_default.TRAINER.TIP.SEARCH_STEP = (200, 20)  # from so many values: (of beta, of alpha)
cfg_default.TRAINER.TIP.AUGMENT_EPOCH = 10  # augmented views of a training image whose mean feature is cached
cfg_default.TRAINER.TIP.TUNE = ()  # TipAdapterF: parameter sets of CLIP tuned too


class Cache(nn.Module):
    """Features and labels of n training images, and the alpha and beta that were chosen for them."""

    def __init__(self, n: int, dim: int, trainable: bool):
        super().__init__()
        self.keys = nn.Parameter(torch.zeros(n, dim), requires_grad=trainable)
        self.register_buffer("labels", torch.zeros(n, dtype=torch.long))
        self.register_buffer("alpha", torch.tensor(0.0))  # no votes before the cache is filled
        self.register_buffer("beta", torch.tensor(0.0))

    def fill(self, keys: torch.Tensor, labels: torch.Tensor) -> None:
        """Take over keys (n, E) and labels (n,) of any n; the parameter stays the one that the optimiser has."""
        self.keys.data, self.labels = keys.to(self.keys), labels.to(self.labels)

    def choose(self, alpha: float, beta: float) -> None:
        self.alpha.fill_(alpha)
        self.beta.fill_(beta)

    def affinity(self, features: torch.Tensor) -> torch.Tensor:
        return features @ self.keys.t()  # (B, n)

    def votes(self, affinity: torch.Tensor, beta: torch.Tensor | float, n_cls: int) -> torch.Tensor:
        """Votes (B, n_cls) from affinities (B, n)."""
        weights = torch.exp(-beta * (1 - affinity))  # (B, n)
        return weights.new_zeros(affinity.shape[0], n_cls).index_add(1, self.labels, weights)


@TRAINER_REGISTRY.register()
class TipAdapter(ClipTrainer):
    """Without training: one pass that fills the cache and chooses alpha and beta."""

    section = "TIP"
    model_name = "tip_adapter"
    trainable = False
    zero_shot_on_new_classes = True

    def __init__(self, cfg):
        super().__init__(cfg)
        if not self.trainable:
            self.max_epoch = 1

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.TIP
        for name in ("ALPHA", "BETA", "AUGMENT_EPOCH"):
            if options[name] <= 0:
                raise ValueError(f"TRAINER.TIP.{name} must be above 0, got {options[name]}")
        for name in ("SEARCH_SCALE", "SEARCH_STEP"):
            if len(options[name]) != 2 or min(options[name]) <= 0:
                raise ValueError(f"TRAINER.TIP.{name} must be two positive numbers, got {tuple(options[name])}")
        if options.TUNE and not self.trainable:
            raise ValueError("TRAINER.TIP.TUNE is for TipAdapterF, TipAdapter trains nothing: leave it empty")

    def build_tuned(self, classnames):
        return Cache(len(self.dm.dataset.train_x), self.clip.visual.output_dim, self.trainable)

    def logits(self, image_features, text_features):
        cache, options = self.tuned, self.options
        alpha, beta = (options.ALPHA, options.BETA) if cache.training else (cache.alpha, cache.beta)
        with torch.autocast(self.device.type, enabled=False):
            votes = cache.votes(cache.affinity(image_features), beta, len(text_features))
        return super().logits(image_features, text_features) + alpha * votes

    def run_epoch(self):
        self.fill_cache()
        self.choose()

    @torch.no_grad()
    def fill_cache(self):
        """Keys: normalised means of the features of augmented views of the training images, by the untouched CLIP."""
        images, cfg, passes = self.dm.dataset.train_x, self.cfg, self.options.AUGMENT_EPOCH
        loader = build_data_loader(
            cfg,
            sampler_type="SequentialSampler",
            data_source=images,
            batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
            tfm=build_transform(cfg, is_train=True),
            is_train=False,  # every image, in order
        )
        features = 0
        for _ in tqdm(range(passes), desc="cache"):
            with self.autocast():
                views = [self.image_features(self.parse_batch_test(batch)[0], tuned=False) for batch in loader]
            features = features + torch.cat(views)  # (n, E)
        self.tuned.fill(F.normalize(features, dim=-1), torch.tensor([item.label for item in images]))
        self.tuned.choose(self.options.ALPHA, self.options.BETA)
        print(f"Cache: {len(images):,} images of {self.num_classes} classes, {passes} views of each")

    @torch.no_grad()
    def choose(self):
        """Set alpha and beta to the pair of the grid that is right on most validation images, the first such pair."""
        if not self.has_validation():
            print(f"No validation images: alpha stays {self.options.ALPHA}, beta {self.options.BETA}")
            return
        (most_beta, most_alpha), (n_beta, n_alpha) = self.options.SEARCH_SCALE, self.options.SEARCH_STEP
        betas = [0.1 + i * (most_beta - 0.1) / n_beta for i in range(n_beta)]
        alphas = torch.tensor([0.1 + i * (most_alpha - 0.1) / n_alpha for i in range(n_alpha)], device=self.device)
        right, total = torch.zeros(n_beta, n_alpha, device=self.device), 0
        self.set_model_mode("eval")
        for batch in self.val_loader:
            image, label = self.parse_batch_test(batch)
            with self.autocast():
                features, text = self.encode_image(image), self.text_features()
            zero_shot, affinity = super().logits(features, text), self.tuned.affinity(features)
            for i, beta in enumerate(betas):
                votes = alphas[:, None, None] * self.tuned.votes(affinity, beta, len(text))  # (n_alpha, B, n_cls)
                right[i] += ((zero_shot + votes).argmax(-1) == label).sum(-1)
            total += len(label)
        best = right.flatten().tolist().index(right.max().item())
        alpha, beta = alphas[best % n_alpha].item(), betas[best // n_alpha]
        self.tuned.choose(alpha, beta)
        accuracy = 100 * right.max().item() / total
        print(f"Chosen on {total:,} validation images: alpha {alpha:.3f}, beta {beta:.3f}, accuracy {accuracy:.2f}%")

    def before_load(self, state):
        """Keep the cached images of this run's classes, found by name; none unless every class has some."""
        tensors, own = state["state_dict"], list(self.dm.dataset.classnames)
        if not {"keys", "labels"} <= tensors.keys():
            return
        theirs = state.get("meta", {}).get("classnames", own)
        place = {name: i for i, name in enumerate(own)}
        labels = torch.tensor([place.get(theirs[label], -1) for label in tensors["labels"].tolist()], dtype=torch.long)
        without = [name for i, name in enumerate(own) if i not in set(labels.tolist())]
        if without:
            print(
                f"No cached images of {len(without)} of {len(own)} classes ({shorten(without)}): "
                "the cache is not used, zero-shot"
            )
        keep = (labels >= 0) & (not without)
        tensors["keys"], tensors["labels"] = tensors["keys"][keep], labels[keep]
        self.tuned.fill(torch.zeros_like(tensors["keys"]), tensors["labels"])

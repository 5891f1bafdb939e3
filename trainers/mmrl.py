"""MMRL: learned tokens in the upper blocks of both encoders, from one set of shared tokens, and a second image feature.

MMRL: Multi-Modal Representation Learning for Vision-Language Models, https://arxiv.org/abs/2503.08497

Linear layers, one per block and encoder, project the shared tokens R (N_REP_TOKENS, REP_DIM) to the encoders' widths.
The result stands after the class token of an image and after the start of a text, from block REP_LAYERS[0] on. It is
replaced at each of these blocks. Text tokens attend to their predecessors only, as all text. A second image feature is
the mean of the learned tokens' outputs times a learned projection. The loss is

    ALPHA CE(f) + (1 - ALPHA) CE(f_rep) + REG_WEIGHT ((1 - mean cos(f, f_clip)) + (1 - mean cos(w, w_clip)))

for the image features f and f_rep, the text features w, and those of the frozen CLIP. As in the official code, images
of the classes and the dataset that were trained on are predicted by ALPHA logits(f) + (1 - ALPHA) logits(f_rep), all
others by logits(f), also those of ImageNet's variants.

The second projection starts at random, as in the official code, and not at CLIP's.

Deliberate differences from the official code:

- All learned tensors are fp32 masters at every precision. Only they are saved, not both encoders.
- Whether both features are used is decided by the classes and the dataset of the checkpoint, not by a key TASK.
- REG_WEIGHT and REP_DIM of a dataset are in configs/recipes.yaml. The official train.py sets them by itself.
- LOGIT_SCALE 0 uses the logit scale of the backbone. The official code always has 100, OpenAI's.
"""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.compat import functional_call
from .common.losses import distillation_loss
from .common.models.backbones import has_own_encoders, outline
from .common.models.insertions import TOKENS, Insertions, LearnedTokens
from .common.models.places import Unsupported
from .common.trainer import ClipTrainer

cfg_default.TRAINER.MMRL = CN()
cfg_default.TRAINER.MMRL.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.MMRL.N_REP_TOKENS = 5  # shared tokens
cfg_default.TRAINER.MMRL.REP_DIM = 512  # their width
cfg_default.TRAINER.MMRL.REP_LAYERS = (6, 7, 8, 9, 10, 11, 12)  # blocks with learned tokens, counted from 1
cfg_default.TRAINER.MMRL.ALPHA = 0.7  # weight of the class token's feature; the rest is that of the learned tokens
cfg_default.TRAINER.MMRL.REG_WEIGHT = 1.0  # weight of the distance from the features of the frozen CLIP
cfg_default.TRAINER.MMRL.LOGIT_SCALE = 100.0  # factor of the cosine similarities; 0: that of the backbone
cfg_default.TRAINER.MMRL.TUNE = ()  # parameter sets of CLIP tuned too


class ProjectedTokens(nn.Module):
    """The learned tokens of one encoder: a projection of the shared tokens for each block.

    The shared tokens are registered elsewhere, as both encoders have them.
    """

    def __init__(self, shared: nn.Parameter, width: int, blocks: list[int]):
        super().__init__()
        layer = nn.Linear(shared.shape[1], width)  # all blocks start from the same weights, as in the official code
        self.projections = nn.ModuleDict({str(i): copy.deepcopy(layer) for i in blocks})
        self.shared = (shared,)

    def forward(self, dtype: torch.dtype) -> Insertions:
        """Returns the tokens (n, width) of each block, in the dtype of the encoder."""
        projected = {int(i): project(*self.shared).to(dtype) for i, project in self.projections.items()}
        return {i: {TOKENS: LearnedTokens(tokens)} for i, tokens in projected.items()}


@TRAINER_REGISTRY.register()
class MMRL(ClipTrainer):
    """MMRL's trainer: minimises the loss above."""

    section = "MMRL"
    model_name = "mmrl"
    needs_vit = True
    one_image_feature = True

    fuses = True  # predictions use both image features
    for_any_text = ("model_inference",)  # without the learned tokens' feature, as for other classes

    @classmethod
    def complete_cfg(cls, cfg):
        super().complete_cfg(cfg)
        name, layers = cfg.MODEL.BACKBONE.NAME, list(cfg.TRAINER[cls.section].REP_LAYERS)
        if not has_own_encoders(name):
            raise Unsupported(
                f"{cfg.TRAINER.NAME} reads the outputs of its tokens in a ViT with the structure of OpenAI's CLIP, "
                f"which MODEL.BACKBONE.NAME {name!r} does not have: use one such as ViT-B/16 or "
                "open_clip:ViT-B-16/laion2b_s34b_b88k"
            )
        n_blocks = min(outline(name).n_blocks)
        if not layers or layers != sorted(set(layers)) or layers[0] < 1 or layers[-1] > n_blocks:
            raise Unsupported(
                f"TRAINER.{cls.section}.REP_LAYERS must be ascending numbers of blocks from 1 to {n_blocks}, the "
                f"number of blocks of the shorter encoder, got {tuple(layers)}"
            )

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        section, options = f"TRAINER.{self.section}", cfg.TRAINER[self.section]
        for name in ("N_REP_TOKENS", "REP_DIM"):
            if options[name] < 1:
                raise ValueError(f"{section}.{name} must be at least 1, got {options[name]}")
        for name in ("REG_WEIGHT", "LOGIT_SCALE"):
            if options[name] < 0:
                raise ValueError(f"{section}.{name} must not be negative, got {options[name]}")
        if not 0 < options.ALPHA <= 1:
            raise ValueError(f"{section}.ALPHA must be above 0 and at most 1, got {options.ALPHA}")

    def build_tuned(self, classnames):
        options, backbone = self.options, self.backbone
        self.fixed_scale = torch.tensor(options.LOGIT_SCALE, device=self.device) if options.LOGIT_SCALE else None
        tuned = nn.Module()
        tuned.tokens = nn.Parameter(torch.empty(options.N_REP_TOKENS, options.REP_DIM).normal_(std=0.02))
        blocks = [layer - 1 for layer in options.REP_LAYERS]
        widths = {"image": backbone.image_width, "text": self.text_encoder.width}
        inserted = {encoder: self.tokens_of(tuned.tokens, width, blocks) for encoder, width in widths.items()}
        tuned.inserted = nn.ModuleDict(inserted)
        self.add_projection(tuned)
        return tuned

    def tokens_of(self, shared: nn.Parameter, width: int, blocks: list[int]) -> nn.Module:
        """Returns the learned tokens of one encoder."""
        return ProjectedTokens(shared, width, blocks)

    def add_projection(self, tuned: nn.Module) -> None:
        """Adds the parameters of the second projection."""
        width = self.backbone.image_width
        tuned.projection = nn.Parameter(width**-0.5 * torch.randn(width, self.backbone.dim))

    def second_projection(self) -> torch.Tensor:
        """Returns the projection (D, E) of the learned tokens' outputs."""
        return self.tuned.projection

    @property
    def logit_scale(self):
        if self.fixed_scale is None or "logit_scale" in self.clip_names:
            return super().logit_scale
        return self.fixed_scale

    def both_features(self, image: torch.Tensor) -> list[torch.Tensor]:
        """Returns the normalised features (B, E) of the class token and of the learned tokens, fp32."""
        inputs = {**self._insertions("image"), "return_tokens": True}
        images = (image.to(self.backbone.dtype),)
        features, tokens = functional_call(self.image_encoder, self._overrides(visual=True), images, inputs)
        representation = tokens.mean(dim=1) @ self.second_projection().to(tokens.dtype)
        return [F.normalize(f.float(), dim=-1) for f in (features, representation)]

    def fused(self, logits: torch.Tensor, logits_rep: torch.Tensor) -> torch.Tensor:
        """Returns the weighted sum of the logits (B, n_cls) of both features."""
        return self.options.ALPHA * logits + (1 - self.options.ALPHA) * logits_rep

    def losses(self, image, label):
        alpha, weight = self.options.ALPHA, self.options.REG_WEIGHT
        text = self.text_features()
        features, representation = self.both_features(image)
        with torch.no_grad():
            teacher = self.encode_image(image, tuned=False)
        logits, logits_rep = self.logits(features, text), self.logits(representation, text)
        terms = {
            "ce": alpha * F.cross_entropy(logits, label),
            "ce_rep": (1 - alpha) * F.cross_entropy(logits_rep, label),
            "reg_image": weight * distillation_loss(features, teacher),
            "reg_text": weight * distillation_loss(text, self.zero_shot_features()),
        }
        return self.fused(logits, logits_rep), terms

    def model_inference(self, image):
        if not self.fuses:
            return super().model_inference(image)
        with self.autocast():
            text = self.text_of_evaluation()
            return self.fused(*(self.logits(f, text) for f in self.both_features(image)))

    def before_load(self, state):
        """Decides whether predictions use both features: for the dataset and the classes that were trained on."""
        known = (state.get("meta") or {}).get("classnames", self.dm.dataset.classnames)
        dataset = (state.get("settings") or {}).get("DATASET.NAME", self.cfg.DATASET.NAME)
        trained_on = set(self.dm.dataset.classnames) <= set(known) and dataset == self.cfg.DATASET.NAME
        self.fuses = trained_on
        if not trained_on:
            print("Other classes or another dataset than in training: predicted by the class token's feature alone")

    def before_train(self):
        self.fuses = True
        super().before_train()

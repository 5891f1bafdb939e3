"""Prompt tuning: learned tokens before the dataset's prompt, after the image patches, or both.

- Text: "<start> v1 ... vM a photo of a cat. <end>", as in The Power of Scale for Parameter-Efficient Prompt Tuning,
  https://arxiv.org/abs/2104.08691. The dataset's prompt stays in words. CoOp learns it instead.
- Image: Visual Prompt Tuning (VPT), https://arxiv.org/abs/2203.12119.

With depth 1, VPT's "shallow", only the first block has learned tokens. With a greater depth, its "deep", further blocks
have learned tokens of their own, which replace the outputs of those before.

Deliberate differences from the official codes:

- Without a head: the classifier is CLIP's. All learned tokens are fp32 masters at every precision.
- The image tokens are plain parameters, after the patches, and pass the LayerNorm before the first block, as in MaPLe.
- Parameter sets of CLIP can be tuned too (TRAINER.PROMPT_TUNING.TUNE "('image_layernorm',)").
"""

import math

import torch
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common import prompt_ensemble
from .common.learned_context import LearnedContext
from .common.models import places
from .common.prompt_learner import PromptLearner, check_context, placeholders, random_context
from .common.trainer import ClipTrainer

cfg_default.TRAINER.PROMPT_TUNING = CN()
cfg_default.TRAINER.PROMPT_TUNING.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.PROMPT_TUNING.ENCODERS = "both"  # encoders with learned tokens: image, text or both
cfg_default.TRAINER.PROMPT_TUNING.N_CTX = 5  # learned tokens per encoder and block
cfg_default.TRAINER.PROMPT_TUNING.IMAGE_DEPTH = 1  # blocks of the image encoder with learned tokens; 0: all
cfg_default.TRAINER.PROMPT_TUNING.TEXT_DEPTH = 1  # blocks of the text encoder with learned tokens; 0: all
cfg_default.TRAINER.PROMPT_TUNING.TUNE = ()  # parameter sets of CLIP tuned too


@TRAINER_REGISTRY.register()
class PromptTuning(LearnedContext, ClipTrainer):
    """Prompt tuning's trainer: minimises CE."""

    section = "PROMPT_TUNING"
    for_any_text = ("text_features",)
    model_name = "prompt_tuning"

    @classmethod
    def inserts_image_tokens(cls, cfg):
        return "image" in places.encoders(cfg.TRAINER.PROMPT_TUNING.ENCODERS, "TRAINER.PROMPT_TUNING.ENCODERS")

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        check_context(cfg.TRAINER.PROMPT_TUNING, "TRAINER.PROMPT_TUNING")

    def depth(self, encoder: str) -> int:
        """Returns the number of blocks with learned tokens of one encoder, "image" or "text"."""
        key = f"{encoder.upper()}_DEPTH"
        depth = self.options[key]
        n_blocks = len(places.blocks(self.backbone.model, image=encoder == "image"))
        if not 0 <= depth <= n_blocks:
            raise ValueError(
                f"TRAINER.PROMPT_TUNING.{key} must be 1 to {n_blocks} on this backbone, or 0 for all, got {depth}"
            )
        return depth or n_blocks

    def build_tuned(self, classnames):
        n_ctx = self.options.N_CTX
        encoders = places.ENCODERS[self.options.ENCODERS]
        tuned = nn.Module()
        self.learners = []  # for each pass of the text encoder; they share the learned tokens
        if "text" in encoders:
            depth = self.depth("text")
            ctx = random_context(self.text_encoder, n_ctx)
            for prompts in prompt_ensemble.passes(self.prompts)[0]:
                self.learners.append(PromptLearner(self.text_encoder, prompts, f"{placeholders(n_ctx)} {{}}", ctx))
                self.learners[-1].ctx = self.learners[0].ctx
            tuned.prompt_learner = self.learners[0]
            if depth > 1:
                tuned.deep_text_tokens = nn.Parameter(random_context(self.text_encoder, depth - 1, n_ctx))
            print(f"Learned text tokens: {n_ctx} in {depth} blocks, before the prompt")
        if "image" in encoders:
            depth = self.depth("image")
            tuned.image_tokens = nn.Parameter(self.random_image_tokens(depth, n_ctx))
            print(f"Learned image tokens: {n_ctx} in {depth} blocks")
        return tuned

    def random_image_tokens(self, *shape: int) -> torch.Tensor:
        """Returns random vectors (*shape, D) as in VPT: uniform, the bound is sqrt(6 / (values per patch + D))."""
        modules = (module for _, module in places.modules(self.backbone.model, image=True))
        patch = next(module for module in modules if isinstance(module, (nn.Conv2d, nn.Linear)))  # patches -> tokens
        width = self.backbone.image_width
        bound = math.sqrt(6 / (patch.weight[0].numel() + width))
        return torch.empty(*shape, width).uniform_(-bound, bound)

    def text_features(self):
        if not self.learners:
            return ClipTrainer.text_features(self)
        return self.class_features([self.learned_features(learner) for learner in self.learners])  # (n_cls, E)

    def image_features(self, image, tuned=True):
        if not tuned or not hasattr(self.tuned, "image_tokens"):
            return super().image_features(image, tuned)
        return super().image_features(image, prompts=tuple(self.tuned.image_tokens))

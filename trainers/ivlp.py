"""IVLP (independent vision-language prompting): learned tokens in the first blocks of both encoders.

The baseline of Self-regulating Prompts (PromptSRC), https://arxiv.org/abs/2307.06948. Unlike MaPLe's, the tokens of the
images are parameters of their own: no projections of the text tokens.

Deliberate differences from the official code:

- All learned tensors are fp32 masters, and are used at the precision PREC. The official code rounds the deep tokens and
  those of the images to fp16 at every precision.
- CLIP's own code is unchanged; its blocks are called one by one. Widths and the number of blocks come from the
  backbone.
- N_CTX_TEXT and N_CTX_VISION are 4, as in the official configs, not 2.
- The training accuracy is logged.
- Image LayerNorms can be tuned too (TRAINER.IVLP.TUNE "('image_layernorm',)").
"""

import re

import torch
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.learned_context import LearnedContext
from .common.models import places
from .common.models.backbones import outline
from .common.prompt_learner import PromptLearner, context_words, placeholders, random_context, word_context
from .common.trainer import ClipTrainer

cfg_default.TRAINER.IVLP = CN()
cfg_default.TRAINER.IVLP.N_CTX_VISION = 4  # learned tokens in a block of the image encoder
cfg_default.TRAINER.IVLP.N_CTX_TEXT = 4  # learned tokens in a block of the text encoder
cfg_default.TRAINER.IVLP.CTX_INIT = "a photo of a"  # words; the first N_CTX_TEXT initialise the tokens if it is <= 4
cfg_default.TRAINER.IVLP.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.IVLP.PROMPT_DEPTH_VISION = 9  # image blocks with learned tokens; 0: none
cfg_default.TRAINER.IVLP.PROMPT_DEPTH_TEXT = 9  # text blocks with learned tokens, at least 1
cfg_default.TRAINER.IVLP.TUNE = ()  # parameter sets of CLIP tuned too

# A learned token of an official checkpoint: its encoder, and its block unless that is the first one
OFFICIAL_TOKENS = re.compile(r"(image|text)_encoder\.(?:transformer\.resblocks\.(\d+)\.VPT_shallow|VPT)")


@TRAINER_REGISTRY.register()
class IVLP(LearnedContext, ClipTrainer):
    """IVLP's trainer: minimises CE."""

    section = "IVLP"
    uses_templates = False
    model_name = "VLPromptLearner"
    # The official checkpoints hold the whole model.
    not_loaded = ("image_encoder.", "text_encoder.", "logit_scale", "prompt_learner.token_", "prompt_learner.ZS_")

    @classmethod
    def inserts_image_tokens(cls, cfg):
        return cfg.TRAINER[cls.section].PROMPT_DEPTH_VISION > 0

    @classmethod
    def complete_cfg(cls, cfg):
        super().complete_cfg(cfg)
        options, backbone = cfg.TRAINER[cls.section], outline(cfg.MODEL.BACKBONE.NAME)
        for image, key, lowest in ((True, "PROMPT_DEPTH_VISION", 0), (False, "PROMPT_DEPTH_TEXT", 1)):
            highest = len(places.blocks(backbone.model, image))
            if not lowest <= options[key] <= highest:
                raise places.Unsupported(
                    f"TRAINER.{cls.section}.{key} must be {lowest} to {highest} on this backbone, got {options[key]}"
                )

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        for key in ("N_CTX_VISION", "N_CTX_TEXT"):
            n_ctx = cfg.TRAINER[self.section][key]
            if n_ctx < 1:
                raise ValueError(f"TRAINER.{self.section}.{key} must be at least 1, got {n_ctx}")

    @property
    def n_ctx(self) -> int:
        """Number of learned tokens in a block of the text encoder."""
        return self.options.N_CTX_TEXT

    def words(self) -> str:
        """Returns the words that initialise the context; "" (random) if N_CTX_TEXT is above 4, as officially."""
        return context_words(self.options, f"TRAINER.{self.section}") if self.n_ctx <= 4 else ""

    def prompt_template(self):
        return f"{self.words() or placeholders(self.n_ctx)} {{}}."

    def build_tuned(self, classnames):
        image_depth, text_depth = self.options.PROMPT_DEPTH_VISION, self.options.PROMPT_DEPTH_TEXT
        text_encoder, words, n_image = self.text_encoder, self.words(), self.options.N_CTX_VISION
        text = words or placeholders(self.n_ctx)
        ctx = word_context(text_encoder, words, self.n_ctx) if words else random_context(text_encoder, self.n_ctx)
        print(f'Initial context: "{text}" ({self.n_ctx} learned tokens in {text_depth} blocks)')
        tuned = nn.Module()
        tuned.prompt_learner = PromptLearner(text_encoder, classnames, text, ctx)
        if text_depth > 1:
            tuned.deep_text_tokens = nn.Parameter(random_context(text_encoder, text_depth - 1, self.n_ctx))
        if image_depth:
            tokens = torch.empty(image_depth, n_image, self.backbone.image_width).normal_(std=0.02)
            tuned.image_tokens = nn.Parameter(tokens)
            print(f"Learned image tokens: {n_image} in {image_depth} blocks")
        return tuned

    def image_features(self, image, tuned=True):
        if not tuned or not hasattr(self.tuned, "image_tokens"):
            return super().image_features(image, tuned)
        return super().image_features(image, prompts=tuple(self.tuned.image_tokens))

    def before_load(self, state):
        """Stacks the learned tokens of an official checkpoint, which has a tensor per block."""
        tensors = state["state_dict"]
        found = {"image": {}, "text": {}}  # encoder -> block -> tokens
        for name in list(tensors):
            match = OFFICIAL_TOKENS.fullmatch(name)
            if match:
                found[match[1]][int(match[2] or 0)] = tensors.pop(name)
        for encoder, name in (("image", "image_tokens"), ("text", "deep_text_tokens")):
            if found[encoder]:
                tensors[name] = torch.stack([tokens for _, tokens in sorted(found[encoder].items())])

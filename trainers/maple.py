"""MaPLe: learned tokens in the first blocks of both encoders. The image tokens are projections of the text tokens.

MaPLe: Multi-modal Prompt Learning, https://arxiv.org/abs/2210.03117

Deliberate differences from the official code:

- CLIP's own code is unchanged; its blocks are called one by one.
- All learned tensors are fp32 masters, so that fp32 and amp work. Only they are saved, not the whole model.
- Widths and the number of blocks come from the backbone.
- The training accuracy is logged.
- Image LayerNorms can be tuned too (TRAINER.MAPLE.TUNE "('image_layernorm',)").
"""

import copy

import torch
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.learned_context import LearnedContext
from .common.prompt_learner import (
    PromptLearner,
    check_context,
    context_words,
    placeholders,
    random_context,
    word_context,
)
from .common.trainer import ClipTrainer

cfg_default.TRAINER.MAPLE = CN()
cfg_default.TRAINER.MAPLE.N_CTX = 2  # learned tokens in each encoder
cfg_default.TRAINER.MAPLE.CTX_INIT = "a photo of a"  # words; the first N_CTX initialise the tokens if N_CTX <= 4
cfg_default.TRAINER.MAPLE.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.MAPLE.PROMPT_DEPTH = 9  # number of blocks per encoder with learned tokens; 1: only the first block
cfg_default.TRAINER.MAPLE.TUNE = ()  # parameter sets of CLIP tuned too


class MultiModalPromptLearner(PromptLearner):
    """A PromptLearner with learned tokens for deeper blocks, and projections to the width of the image encoder."""

    def __init__(self, text_encoder, classnames, text, ctx, depth: int, image_width: int):
        super().__init__(text_encoder, classnames, text, ctx)
        n_ctx, width = ctx.shape
        self.proj = nn.Linear(width, image_width)
        deeper = [nn.Parameter(random_context(text_encoder, n_ctx)) for _ in range(depth - 1)]
        self.compound_prompts_text = nn.ParameterList(deeper)
        layer = nn.Linear(width, image_width)  # all projections start from the same weights, as in the official code
        self.compound_prompt_projections = nn.ModuleList(copy.deepcopy(layer) for _ in deeper)

    def image_prompts(self) -> list[torch.Tensor]:
        """Returns the learned tokens (n_ctx, D) of each of the first `depth` blocks of the image encoder."""
        deeper = zip(self.compound_prompt_projections, self.compound_prompts_text, strict=True)
        return [self.proj(self.ctx), *(project(prompt) for project, prompt in deeper)]


@TRAINER_REGISTRY.register()
class MaPLe(LearnedContext, ClipTrainer):
    """MaPLe's trainer: minimises CE."""

    section = "MAPLE"
    uses_templates = False
    model_name = "MultiModalPromptLearner"
    needs_vit = True
    # The official checkpoints hold the whole model.
    not_loaded = ("image_encoder.", "text_encoder.", "logit_scale", "prompt_learner.token_")

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        check_context(cfg.TRAINER.MAPLE, "TRAINER.MAPLE")

    def words(self) -> str:
        """Returns the words that initialise the context; "" (random) if N_CTX is above 4, as in the official code."""
        return context_words(self.options, "TRAINER.MAPLE") if self.options.N_CTX <= 4 else ""

    def prompt_template(self):
        return f"{self.words() or placeholders(self.options.N_CTX)} {{}}."

    def build_tuned(self, classnames):
        n_ctx, depth = self.options.N_CTX, self.options.PROMPT_DEPTH
        max_depth = min(self.backbone.n_blocks)
        if not 1 <= depth <= max_depth:
            raise ValueError(f"TRAINER.MAPLE.PROMPT_DEPTH must be 1 to {max_depth} on this backbone, got {depth}")
        words = self.words()
        text_encoder = self.text_encoder
        ctx = word_context(text_encoder, words, n_ctx) if words else random_context(text_encoder, n_ctx)
        print(f'Initial context: "{words or placeholders(n_ctx)}" ({n_ctx} learned tokens in {depth} blocks)')
        tuned = nn.Module()
        tuned.prompt_learner = MultiModalPromptLearner(
            text_encoder, classnames, words or placeholders(n_ctx), ctx, depth, self.backbone.image_width
        )
        return tuned

    def deep_tokens(self, learner):
        return tuple(learner.compound_prompts_text)

    def image_features(self, image, tuned=True):
        if not tuned:
            return super().image_features(image, tuned)
        return super().image_features(image, prompts=self.tuned.prompt_learner.image_prompts())

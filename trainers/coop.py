"""CoOp: learn the context of the prompts as vectors, shared by all classes or (CSC) one context for every class.

Learning to Prompt for Vision-Language Models, https://arxiv.org/abs/2109.01134

Differences from the official code, all deliberate: the context is an fp32 master at every precision, logits and loss
are computed in fp32, only `ctx` is saved, a CSC context is refused for other classes than its own, and image
LayerNorms can be tuned besides ("+UL": TRAINER.COOP.TUNE "('image_layernorm',)").
"""

import torch

from dassl.engine import TRAINER_REGISTRY

from .common.prompt_learner import PromptLearner, check_context, context_words, initial_context, placeholders
from .common.prompts import add_coop_options
from .common.trainer import ClipTrainer

add_coop_options()


@TRAINER_REGISTRY.register()
class CoOp(ClipTrainer):
    """L = CE. The words of CTX_INIT, where given, are the initial context and set the number of learned tokens."""

    section = "COOP"
    model_name = "prompt_learner"
    left_out = ("token_prefix", "token_suffix", "token_midfix")

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        check_context(cfg.TRAINER.COOP, "TRAINER.COOP")

    def words(self) -> str:
        """The initial context as words; "" for a random one."""
        return context_words(self.options, "TRAINER.COOP")

    def prompt_template(self) -> str:
        return f"{self.words() or placeholders(self.options.N_CTX)} {{}}."

    def context(self, n_cls: int) -> tuple[str, torch.Tensor]:
        """Initial context as text and as vectors, (n_ctx, d) or (n_cls, n_ctx, d)."""
        words, n_ctx = self.words(), self.options.N_CTX
        if words and self.options.CSC:
            print("Note: TRAINER.COOP.CSC has no effect with CTX_INIT, all classes share the context")
        self.per_class = self.options.CSC and not words
        return initial_context(self.text_encoder, words, *((n_cls, n_ctx) if self.per_class else (n_ctx,)))

    def build_tuned(self, classnames):
        text, ctx = self.context(len(classnames))
        print(f'Initial context: "{text}" ({ctx.shape[-2]} learned tokens)')
        return PromptLearner(self.text_encoder, classnames, text, ctx, self.options.CLASS_TOKEN_POSITION)

    def text_features(self):
        return self.encode_text(self.tuned.packed_prompts, x=self.tuned())[0]  # (n_cls, E)

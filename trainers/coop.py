"""CoOp: learns the context vectors of the prompts, shared by all classes or, with CSC, one context per class.

Learning to Prompt for Vision-Language Models, https://arxiv.org/abs/2109.01134

Deliberate differences from the official code:

- The context is an fp32 master at every precision. Logits and loss are computed in fp32.
- Only `ctx` is saved.
- A CSC context cannot be used for classes it was not trained on.
- Image LayerNorms can be tuned too ("+UL": TRAINER.COOP.TUNE "('image_layernorm',)").
"""

import torch

from dassl.engine import TRAINER_REGISTRY

from .common.learned_context import LearnedContext
from .common.prompt_learner import PromptLearner, check_context, context_words, initial_context, placeholders
from .common.prompts import add_coop_options
from .common.trainer import ClipTrainer

add_coop_options()


@TRAINER_REGISTRY.register()
class CoOp(LearnedContext, ClipTrainer):
    """CoOp's trainer: minimises CE. If CTX_INIT has words, they initialise the context and set its number of tokens."""

    section = "COOP"
    uses_templates = False
    model_name = "prompt_learner"
    not_loaded = ("token_prefix", "token_suffix", "token_midfix")

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        check_context(cfg.TRAINER.COOP, "TRAINER.COOP")

    def words(self) -> str:
        """Returns the words that initialise the context; "" for a random one."""
        return context_words(self.options, "TRAINER.COOP")

    def prompt_template(self) -> str:
        return f"{self.words() or placeholders(self.options.N_CTX)} {{}}."

    def context(self, n_cls: int) -> tuple[str, torch.Tensor]:
        """Returns the initial context: its text, and its vectors (n_ctx, d), or (n_cls, n_ctx, d) with CSC."""
        words, n_ctx = self.words(), self.options.N_CTX
        if words and self.options.CSC:
            print("Note: TRAINER.COOP.CSC has no effect with CTX_INIT: all classes share one context")
        self.per_class = self.options.CSC and not words
        shape = (n_cls, n_ctx) if self.per_class else (n_ctx,)
        return initial_context(self.text_encoder, words, *shape)

    def build_tuned(self, classnames):
        text, ctx = self.context(len(classnames))
        print(f'Initial context: "{text}" ({ctx.shape[-2]} learned tokens)')
        return PromptLearner(self.text_encoder, classnames, text, ctx, self.options.CLASS_TOKEN_POSITION)

    @classmethod
    def caption_obstacle(cls, tensors):
        if tensors["ctx"].dim() == 3:
            return "has learned a context of its own for each class (TRAINER.COOP.CSC), so captions have none"
        return super().caption_obstacle(tensors)

"""CoCoOp: CoOp with a small network that shifts the context per image.

Conditional Prompt Learning for Vision-Language Models, https://arxiv.org/abs/2203.05557

Deliberate differences from the official code:

- The prompts of many images are encoded at once, in chunks of bounded memory (TRAINER.COCOOP.CHUNK), so that batch
  sizes above 1 work.
- The training accuracy is logged.
- Context and network are fp32 masters at every precision. Logits and loss are computed in fp32.
- Only the tuned tensors are saved.
- Image LayerNorms can be tuned too (TRAINER.COCOOP.TUNE "('image_layernorm',)").
"""

from collections import OrderedDict

import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.checkpoint import checkpoint
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.compat import is_compiling
from .common.prompt_learner import PromptLearner, check_context, context_words, initial_context, placeholders
from .common.trainer import ClipTrainer

cfg_default.TRAINER.COCOOP = CN()
cfg_default.TRAINER.COCOOP.N_CTX = 16  # learned tokens
cfg_default.TRAINER.COCOOP.CTX_INIT = None  # words that initialise them and set their number
cfg_default.TRAINER.COCOOP.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.COCOOP.TUNE = ()  # parameter sets of CLIP tuned too
cfg_default.TRAINER.COCOOP.CHUNK = 2000  # prompts (images x classes) encoded at once; memory grows with it


class ConditionalPromptLearner(PromptLearner):
    """A PromptLearner with a network that computes the shift of the context vectors from image features."""

    def __init__(self, text_encoder, classnames, text, ctx):
        super().__init__(text_encoder, classnames, text, ctx)
        width, dim = text_encoder.width, text_encoder.dim
        layers = [
            ("linear1", nn.Linear(dim, dim // 16)),
            ("relu", nn.ReLU()),
            ("linear2", nn.Linear(dim // 16, width)),
        ]
        self.meta_net = nn.Sequential(OrderedDict(layers))

    def forward(self, image_features: torch.Tensor, words: torch.Tensor | None = None) -> torch.Tensor:
        """Returns the packed embeddings (B, T, d) of all prompts, given normalised image features (B, E)."""
        return super().forward(self.meta_net(image_features), words)


@TRAINER_REGISTRY.register()
class CoCoOp(ClipTrainer):
    """CoCoOp's trainer: minimises CE. Text features are encoded per image."""

    section = "COCOOP"
    one_image_feature = True
    uses_templates = False
    model_name = "prompt_learner"
    image_conditioned_text = True
    not_loaded = ("token_prefix", "token_suffix")

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        check_context(cfg.TRAINER.COCOOP, "TRAINER.COCOOP")
        if cfg.TRAINER.COCOOP.CHUNK < 1:
            raise ValueError(f"TRAINER.COCOOP.CHUNK must be at least 1, got {cfg.TRAINER.COCOOP.CHUNK}")

    def words(self) -> str:
        return context_words(self.options, "TRAINER.COCOOP")

    def prompt_template(self):
        return f"{self.words() or placeholders(self.options.N_CTX)} {{}}."

    def build_tuned(self, classnames):
        text, ctx = initial_context(self.text_encoder, self.words(), self.options.N_CTX)
        print(f'Initial context: "{text}" ({ctx.shape[-2]} learned tokens)')
        return ConditionalPromptLearner(self.text_encoder, classnames, text, ctx)

    def losses(self, image, label):
        logits = self.conditional_logits(self.encode_image(image))
        return logits, {"ce": F.cross_entropy(logits, label)}

    def conditional_logits(self, image_features: torch.Tensor) -> torch.Tensor:
        """Returns logits (B, n_cls) of image features (B, E), computed in chunks.

        Example: with CHUNK 2000 and 500 classes, a chunk holds 4 images, so a batch of 10 has 3 chunks.

        If training needs several chunks, the backward pass recomputes each one, so that memory holds the activations of
        one chunk only. An exported graph has a single chunk, so that it works for any B.
        """
        if is_compiling():
            return self.chunk_logits(image_features)
        chunks = image_features.split(max(1, self.options.CHUNK // self.num_classes))
        if len(chunks) == 1 or not torch.is_grad_enabled():
            return torch.cat([self.chunk_logits(f) for f in chunks])
        return torch.cat(
            [checkpoint(self.chunk_logits, f, use_reentrant=False, preserve_rng_state=False) for f in chunks]
        )

    def chunk_logits(self, image_features: torch.Tensor) -> torch.Tensor:
        packed = self.tuned.packed_prompts
        text = self.encode_text(packed, x=self.tuned(image_features, self.word_embeddings(packed)))  # (b, n_cls, E)
        with torch.autocast(self.device.type, enabled=False):
            return self.logit_scale * (text @ image_features[:, :, None])[:, :, 0]  # (b, n_cls)

    def model_inference(self, image):
        with self.autocast():
            return self.conditional_logits(self.encode_image(image))

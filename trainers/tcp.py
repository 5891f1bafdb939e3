"""TCP: a network computes tokens of each class from its text feature, and they enter a block of the text encoder.

TCP: Textual-based Class-aware Prompt Tuning for Visual-Language Model, https://arxiv.org/abs/2311.18231

The prompts have learned tokens as in CoOp. Before block LAYER, the tokens of the class replace them. The loss is
KgCoOp's, with weight W.

Deliberate differences from the official code:

- W has an effect; officially the weight is 8 whatever W is.
- LAYER is a key and is checked. Officially it is 8, and with fewer blocks the network has no effect.
- The network has an output for each of N_CTX tokens; officially for four, so that another N_CTX cuts off class names.
- Tokens and network are fp32 masters at every precision. Adam keeps the official EPS of 1e-3, which is due to fp16.
- Settings are in TRAINER.TCP, not in TRAINER.COOP. `amp` has the distillation loss too.
- Datasets without a published prompt have "<tokens> {}." (TRAINER.TCP.PROMPT).
- Image LayerNorms can be tuned too (TRAINER.TCP.TUNE "('image_layernorm',)").
"""

from dataclasses import replace

import torch
import torch.nn.functional as F
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.classes import check_text
from .common.learned_context import LearnedContext
from .common.losses import distillation_loss
from .common.models import places
from .common.models.backbones import outline
from .common.prompt_learner import PromptLearner, check_context, context_words, initial_context
from .common.prompts import TCP_PROMPTS, TCP_TEMPLATES, get_template
from .common.trainer import ClipTrainer

cfg_default.TRAINER.TCP = CN()
cfg_default.TRAINER.TCP.N_CTX = 4  # learned tokens
cfg_default.TRAINER.TCP.CTX_INIT = ""  # words that initialise the tokens and set their number; "": random
cfg_default.TRAINER.TCP.PROMPT = ""  # what follows the tokens, such as "{}, a type of pet."; "": as published, or "{}."
cfg_default.TRAINER.TCP.LAYER = 8  # text block, from 0, before which the tokens of the class replace the learned ones
cfg_default.TRAINER.TCP.W = 8.0  # weight of the distillation loss
cfg_default.TRAINER.TCP.EPS = 1e-3  # of Adam and its variants
cfg_default.TRAINER.TCP.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.TCP.TUNE = ()  # parameter sets of CLIP tuned too


class ClassAwarePromptLearner(PromptLearner):
    """A PromptLearner with a network that computes tokens of each class from its text feature."""

    def __init__(self, text_encoder, classnames, text, ctx):
        super().__init__(text_encoder, classnames, text, ctx, share_prefix=False)
        n_ctx, width = ctx.shape
        dim = text_encoder.dim
        layers = {"linear1": nn.Linear(dim, dim // 4), "linear2": nn.Linear(dim // 4, n_ctx * width)}
        self.meta_net = nn.ModuleDict(layers)

    def set_prompts(self, text_encoder, tokens):
        super().set_prompts(text_encoder, tokens)
        # The learned rows of a class get rows of the class tokens below
        index = self.class_index * len(self.ctx) + self.packed_prompts.learned_index
        self.class_prompts = replace(self.packed_prompts, learned_index=index)

    def class_tokens(self, features: torch.Tensor) -> torch.Tensor:
        """Returns the tokens (n_cls * n_ctx, d) of the classes, given their text features (n_cls, E)."""
        hidden = self.meta_net["linear1"](features)
        hidden = hidden * torch.sigmoid(1.702 * hidden)  # QuickGELU
        return self.meta_net["linear2"](hidden).reshape(-1, self.ctx.shape[1])


@TRAINER_REGISTRY.register()
class TCP(LearnedContext, ClipTrainer):
    """Minimises CE + W * (1 - mean_k cos(w_k, w_k^clip)). The teacher uses the dataset's prompt template."""

    section = "TCP"
    for_any_text = ("text_features",)
    model_name = "prompt_learner"
    not_loaded = ("token_prefix", "token_suffix")

    @classmethod
    def complete_cfg(cls, cfg):
        super().complete_cfg(cfg)
        n_blocks = len(places.blocks(outline(cfg.MODEL.BACKBONE.NAME).model, image=False))
        if not 1 <= cfg.TRAINER.TCP.LAYER < n_blocks:
            raise places.Unsupported(
                f"TRAINER.TCP.LAYER must be 1 to {n_blocks - 1} on this backbone, got {cfg.TRAINER.TCP.LAYER}"
            )

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.TCP
        check_context(options, "TRAINER.TCP")
        if options.W < 0:
            raise ValueError(f"TRAINER.TCP.W must not be negative, got {options.W}")
        if options.EPS <= 0:
            raise ValueError(f"TRAINER.TCP.EPS must be above 0, got {options.EPS}")
        if options.PROMPT and check_text(options.PROMPT, "prompt", "TRAINER.TCP.PROMPT").count("{}") != 1:
            raise ValueError(f"TRAINER.TCP.PROMPT must contain one {{}} for the class name, got {options.PROMPT!r}")

    def prompt_template(self):
        return get_template(self.cfg, TCP_TEMPLATES)

    def make_optimizer(self):
        optim, sched = super().make_optimizer()
        for group in optim.param_groups:
            if "eps" in group:
                group["eps"] = self.options.EPS
        return optim, sched

    def build_tuned(self, classnames):
        words = context_words(self.options, "TRAINER.TCP")
        text, ctx = initial_context(self.text_encoder, words, self.options.N_CTX)
        prompt = f"{text} {self.options.PROMPT or TCP_PROMPTS.get(self.cfg.DATASET.NAME, '{}.')}"
        print(f'Initial prompt: "{prompt}" ({len(ctx)} learned tokens, of the class from block {self.options.LAYER})')
        return ClassAwarePromptLearner(self.text_encoder, classnames, prompt, ctx)

    def text_features(self):
        return self.class_aware_features(self.tuned, self.zero_shot_features())

    def class_aware_features(self, learner: ClassAwarePromptLearner, frozen: torch.Tensor) -> torch.Tensor:
        """Returns the text features (n, E) of the prompts of a learner, given those of the frozen CLIP (n, E)."""
        x = learner(words=self.word_embeddings(learner.packed_prompts))
        deep = (*[None] * (self.options.LAYER - 1), learner.class_tokens(frozen))
        return self.encode_text(learner.class_prompts, x=x, deep=deep)[0]

    def caption_tokens(self, captions):
        """Returns tokens (n, 2 L): with the learned tokens, and as the frozen CLIP encodes the captions."""
        tokens, was_cut = super().caption_tokens(captions)
        return torch.cat([tokens, self.text_encoder.tokenizer.cut(captions)[0]], dim=1), was_cut

    def encode_captions(self, tokens):
        tokens, plain = tokens.chunk(2, dim=1)
        frozen = self.encode_text(self.text_encoder.pack(plain).to(self.device), tuned=False)
        return self.class_aware_features(self.tuned.of_other_prompts(self.text_encoder, tokens), frozen)

    def losses(self, image, label):
        text = self.text_features()
        logits = self.logits(self.encode_image(image), text)
        distance = distillation_loss(text, self.zero_shot_features())
        return logits, {"ce": F.cross_entropy(logits, label), "kd": self.options.W * distance}

"""KgCoOp: CoOp with a distillation loss that keeps text features close to those of hand-written prompts.

Visual-Language Prompt Tuning with Knowledge-guided Context Optimization, https://arxiv.org/abs/2303.13283

Deliberate differences from the official code, in addition to those of CoOp:

- `amp` has the distillation loss too, and the teacher runs at the student's precision.
- CLASS_TOKEN_POSITION and words in CTX_INIT have an effect. CTX_INIT True means "a photo of a", as officially.
- The unused tensors `bias_vectors` and `meta_net` are neither created nor saved.
"""

import torch.nn.functional as F

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.losses import distillation_loss
from .common.prompts import KGCOOP_TEMPLATES, get_template
from .coop import CoOp

cfg_default.TRAINER.COOP.W = 1.0  # weight of the distillation loss; 8.0 in the paper
cfg_default.TRAINER.COOP.ALPHA = 1.0  # no effect, as in the official code


@TRAINER_REGISTRY.register()
class KgCoOp(CoOp):
    """Minimises CE + W * (1 - mean_k cos(w_k, w_k^clip)). The teacher uses the dataset's prompt template."""

    not_loaded = (*CoOp.not_loaded, "bias_vectors", "meta_net.")
    uses_templates = True  # of the teacher

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        if cfg.TRAINER.COOP.W < 0:
            raise ValueError(f"TRAINER.COOP.W must not be negative, got {cfg.TRAINER.COOP.W}")

    def words(self):
        return "a photo of a" if self.options.CTX_INIT is True else super().words()

    def prompt_template(self):
        return get_template(self.cfg, KGCOOP_TEMPLATES)

    def losses(self, image, label):
        text = self.text_features()  # (n_cls, E)
        logits = self.logits(self.encode_image(image), text)
        distance = distillation_loss(text, self.zero_shot_features())
        return logits, {"ce": F.cross_entropy(logits, label), "kd": self.options.W * distance}

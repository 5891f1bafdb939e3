"""ProGrad: CoOp whose steps never go against what zero-shot CLIP predicts.

Prompt-aligned Gradient for Prompt Tuning, https://arxiv.org/abs/2205.14865

Differences from the official code, all deliberate: those of CoOp; both loss terms are there in `amp` too, the teacher
has the student's precision, class position "middle" works, a vanishing teacher gradient leaves the step as it is
instead of making it NaN, and words in CTX_INIT count (True stands for the dataset's template, as there).
"""

import torch
import torch.nn.functional as F
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.prompt_learner import placeholders, word_context
from .common.prompts import PROGRAD_TEMPLATES, get_template
from .coop import CoOp

cfg_default.LOSS = CN()
cfg_default.LOSS.NAME = ""  # prograd, or empty
cfg_default.LOSS.T = 1.0  # temperature of the distillation
cfg_default.LOSS.LAMBDA = 1.0  # share of the conflicting part of the gradient that is taken out
cfg_default.LOSS.GM = False  # the official code names it; without effect, there too
cfg_default.LOSS.ALPHA = 0.0  # likewise


@TRAINER_REGISTRY.register()
class ProGrad(CoOp):
    """Minimises CE; where its gradient opposes that of the distillation loss, the opposing part is taken out."""

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        if cfg.LOSS.NAME not in ("", "prograd"):
            raise ValueError(f"LOSS.NAME must be 'prograd', got {cfg.LOSS.NAME!r}")
        if cfg.LOSS.T <= 0:
            raise ValueError(f"LOSS.T must be positive, got {cfg.LOSS.T}")

    def words(self):
        if self.options.CTX_INIT is not True:
            return super().words()
        if not self.prompt_template().endswith(" {}."):
            raise ValueError(
                'ProGrad with TRAINER.COOP.CTX_INIT True learns the words before the class name, so DATASET.TEMPLATE '
                f'must end in " {{}}.", got {self.prompt_template()!r}'
            )
        return self.prompt_template().removesuffix(" {}.")

    def prompt_template(self):
        return get_template(self.cfg, PROGRAD_TEMPLATES)

    def context(self, n_cls):
        """N_CTX vectors: the words' at the end, zeros before them."""
        words, n_ctx = self.words(), self.options.N_CTX
        if not words:
            return super().context(n_cls)
        n_words = len(words.split())
        if n_words > n_ctx:
            raise ValueError(f"TRAINER.COOP.N_CTX {n_ctx} is too small for the {n_words} words {words!r}")
        ctx = F.pad(word_context(self.text_encoder, words, n_words), (0, 0, n_ctx - n_words, 0))
        return f"{placeholders(n_ctx - n_words)} {words}".strip(), ctx

    def losses(self, image, label):
        features = self.encode_image(image)
        logits = self.logits(features, self.text_features())
        with torch.no_grad():
            frozen = self.encode_image(image, tuned=False) if self.clip_names else features
            teacher = self.logits(frozen, self.zero_shot_features())
        T = self.cfg.LOSS.T
        kl = F.cross_entropy(logits / T, F.softmax(teacher / T, dim=-1)) * T * T  # without the teacher's entropy
        return logits, {"xe_loss": F.cross_entropy(logits, label), "kl_loss": kl}

    def objective(self, terms):
        return terms["xe_loss"]

    def backward(self, terms, loss):
        parameters = [p for p in self.tuned.parameters() if p.requires_grad]
        guides = torch.autograd.grad(self.scaler.scale(terms["kl_loss"]), parameters, retain_graph=True)
        gradients = torch.autograd.grad(self.scaler.scale(loss), parameters)
        for parameter, gradient, guide in zip(parameters, gradients, guides, strict=True):
            parameter.grad = without_conflict(gradient, guide, self.cfg.LOSS.LAMBDA)


def without_conflict(gradient: torch.Tensor, guide: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    """`gradient`, less `strength` times its part along `guide` where the two point apart; eq. 5 of the paper."""
    tiny = torch.finfo(guide.dtype).tiny
    guide = guide / guide.abs().amax().clamp_min(tiny)  # squares of small numbers would vanish in the norm
    direction = guide / guide.norm().clamp_min(tiny)
    return gradient - strength * (gradient * direction).sum().clamp_max(0) * direction

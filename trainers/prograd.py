"""ProGrad: CoOp that removes the part of the gradient that conflicts with zero-shot CLIP's predictions.

Prompt-aligned Gradient for Prompt Tuning, https://arxiv.org/abs/2205.14865

Deliberate differences from the official code, in addition to those of CoOp:

- `amp` has both loss terms too, and the teacher runs at the student's precision.
- CLASS_TOKEN_POSITION "middle" works.
- If the distillation gradient vanishes, the CE gradient is used unchanged; the official code gets NaN.
- Words in CTX_INIT have an effect. CTX_INIT True means the dataset's template, as in the official code.
"""

import torch
import torch.nn.functional as F
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.distributed import total
from .common.prompt_learner import placeholders, word_context
from .common.prompts import PROGRAD_TEMPLATES, get_template
from .coop import CoOp

cfg_default.LOSS = CN()
cfg_default.LOSS.NAME = ""  # prograd, or empty
cfg_default.LOSS.T = 1.0  # temperature of the distillation loss
cfg_default.LOSS.LAMBDA = 1.0  # share of the conflicting gradient that is removed
cfg_default.LOSS.GM = False  # no effect, as in the official code
cfg_default.LOSS.ALPHA = 0.0  # no effect


@TRAINER_REGISTRY.register()
class ProGrad(CoOp):
    """ProGrad's trainer: minimises CE, and removes the part of its gradient that opposes the distillation loss's."""

    uses_templates = True  # of the teacher
    gathers = True  # a conflict is one of the gradients of the whole batch

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        if cfg.LOSS.NAME not in ("", "prograd"):
            raise ValueError(f"LOSS.NAME must be 'prograd' or '', got {cfg.LOSS.NAME!r}")
        if cfg.LOSS.T <= 0:
            raise ValueError(f"LOSS.T must be positive, got {cfg.LOSS.T}")

    def words(self):
        if self.options.CTX_INIT is not True:
            return super().words()
        if not self.prompt_template().endswith(" {}."):
            raise ValueError(
                'TRAINER.COOP.CTX_INIT True needs a DATASET.TEMPLATE that ends in " {}.", '
                f"got {self.prompt_template()!r}; give the words in TRAINER.COOP.CTX_INIT instead"
            )
        return self.prompt_template().removesuffix(" {}.")

    def prompt_template(self):
        return get_template(self.cfg, PROGRAD_TEMPLATES)

    def context(self, n_cls):
        """Returns the initial text and context. With words, its vectors are zeros followed by those of the words."""
        words, n_ctx = self.words(), self.options.N_CTX
        if not words:
            return super().context(n_cls)
        n_words = len(words.split())
        if n_words > n_ctx:
            raise ValueError(f"TRAINER.COOP.N_CTX must be at least {n_words} for the words {words!r}, got {n_ctx}")
        ctx = F.pad(word_context(self.text_encoder, words, n_words), (0, 0, n_ctx - n_words, 0))
        return f"{placeholders(n_ctx - n_words)} {words}".strip(), ctx

    def losses(self, image, label):
        features = self.encode_image(image)
        logits = self.logits(features, self.text_features())
        with torch.no_grad():
            teacher_features = self.encode_image(image, tuned=False) if self.clip_names else features
            teacher = self.zero_shot_logits(teacher_features)
        T = self.cfg.LOSS.T
        kl = F.cross_entropy(logits / T, F.softmax(teacher / T, dim=-1)) * T * T  # KL up to the teacher's entropy
        return logits, {"xe_loss": F.cross_entropy(logits, label), "kl_loss": kl}

    def objective(self, terms):
        return terms["xe_loss"]

    def backward(self, terms, loss):
        parameters = [p for p in self.tuned.parameters() if p.requires_grad]
        kl = self.scaled(terms["kl_loss"])
        # Some parameters of other libraries' models do not change the features: their gradients are None
        guides = torch.autograd.grad(kl, parameters, retain_graph=True, allow_unused=True)
        gradients = torch.autograd.grad(self.scaled(loss), parameters, allow_unused=True)
        found = [trio for trio in zip(parameters, gradients, guides, strict=True) if trio[1] is not None]
        for parameter, gradient, guide in self.of_whole_batch(found):
            parameter.grad = without_conflict(gradient, guide, self.cfg.LOSS.LAMBDA)
            if self.share is not None:
                parameter.grad *= self.share_weight  # `sum_gradients` adds up what all processes have

    def of_whole_batch(self, found: list[tuple]) -> list[tuple]:
        """Returns (parameter, gradient, guide) of each parameter with the sums of both over the processes."""
        if self.share is None:
            return found
        parameters, *both = zip(*found, strict=True)
        sums = total([tensor for tensors in both for tensor in tensors], self.share)
        return list(zip(parameters, sums[: len(found)], sums[len(found) :], strict=True))


def without_conflict(gradient: torch.Tensor, guide: torch.Tensor, strength: float = 1.0) -> torch.Tensor:
    """Subtracts from `gradient` its projection on `guide`, times `strength`, if the two conflict: eq. 5 of the paper.

    Example: gradient (1, -1), guide (0, 2): they conflict, as their product is -2; the result is (1, 0).
    Gradient (1, 1), guide (0, 2): no conflict; the result is (1, 1).
    """
    tiny = torch.finfo(guide.dtype).tiny
    guide = guide / guide.abs().amax().clamp_min(tiny)  # the squares of small numbers would underflow in the norm
    direction = guide / guide.norm().clamp_min(tiny)
    return gradient - strength * (gradient * direction).sum().clamp_max(0) * direction

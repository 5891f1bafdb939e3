"""Loss terms that several methods share, and the table of CLIPFit's regularisers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


def distillation_loss(text: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """1 - mean_k cos(w_k, w_k^clip) for features (n_cls, E), a scalar in [0, 2].

    CLIPFit's eq. 3 (eq. 4 prints it with a plus, which would push the features apart) and KgCoOp's eq. 4.
    """
    return 1 - F.cosine_similarity(text, teacher, dim=-1, eps=1e-7).mean()


@dataclass(frozen=True)
class TextChange:
    """How far fine-tuning has moved the text side from zero-shot CLIP."""

    features: torch.Tensor  # (n_cls, E) text features, normalised
    teacher: torch.Tensor  # (n_cls, E) those of the frozen CLIP
    tuned: list[torch.Tensor]  # the L tuned text parameters
    frozen: list[torch.Tensor]  # CLIP's own values of them


REGULARISERS = {}  # value of TRAINER.CLIPFIT.REG -> function from a TextChange to a scalar


def regulariser(function):
    """Register a function from a TextChange to a scalar under its own name."""
    REGULARISERS[function.__name__] = function
    return function


@regulariser
def kd(change: TextChange) -> torch.Tensor:
    """Distillation: eq. 3 and 4 of the CLIPFit paper."""
    return distillation_loss(change.features, change.teacher)


@regulariser
def mse(change: TextChange) -> torch.Tensor:
    """(1/L) sum_l |b_l - b_l^clip|^2: eq. 5 of the CLIPFit paper."""
    squares = [(b - b_clip.float()).square().sum() for b, b_clip in zip(change.tuned, change.frozen)]
    return torch.stack(squares).mean()

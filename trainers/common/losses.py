"""Loss terms shared by several methods, and the registry of CLIPFit's regularisers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


def distillation_loss(text: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Returns 1 - mean_k cos(w_k, w_k^clip) for text features (n_cls, E): a scalar in [0, 2].

    Eq. 3 of CLIPFit and eq. 4 of KgCoOp. Eq. 4 of CLIPFit has a plus sign, which would push the features apart.
    """
    return 1 - F.cosine_similarity(text, teacher, dim=-1, eps=1e-7).mean()


@dataclass(frozen=True)
class TextChange:
    """Arguments of a regulariser: text features and text parameters, tuned and frozen."""

    features: torch.Tensor  # (n_cls, E) normalised text features
    teacher: torch.Tensor  # (n_cls, E) normalised text features of the teacher
    tuned: list[torch.Tensor]  # the L tuned text parameters
    frozen: list[torch.Tensor]  # the same parameters in the frozen CLIP


REGULARISERS = {}  # value of TRAINER.CLIPFIT.REG -> function from a TextChange to a scalar


def regulariser(function):
    """Registers a function (TextChange -> scalar) under its own name."""
    REGULARISERS[function.__name__] = function
    return function


@regulariser
def kd(change: TextChange) -> torch.Tensor:
    """Distillation loss: eq. 3 and 4 of the CLIPFit paper."""
    return distillation_loss(change.features, change.teacher)


@regulariser
def mse(change: TextChange) -> torch.Tensor:
    """Mean squared change of the text parameters, (1/L) sum_l |b_l - b_l^clip|^2: eq. 5 of the CLIPFit paper."""
    squares = [(b - b_clip.float()).square().sum() for b, b_clip in zip(change.tuned, change.frozen)]
    return torch.stack(squares).mean()

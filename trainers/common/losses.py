"""Loss terms shared by several methods, and the registry of CLIPFit's regularisers."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F


def distillation_loss(text: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """Returns 1 - mean_k cos(w_k, w_k^clip) for text features (n, E): a scalar in [0, 2].

    Eq. 3 of CLIPFit and eq. 4 of KgCoOp. Eq. 4 of CLIPFit has a plus sign, which would push the features apart.
    """
    return 1 - F.cosine_similarity(text, teacher, dim=-1, eps=1e-7).mean()


def contrastive_losses(logits: torch.Tensor, known: torch.Tensor | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns the cross-entropy of images among captions and that of captions among images, two scalars.

    Args:
        logits: (B, B), an image per row and a caption per column; image i and caption i are a pair.
        known: (B, B), true where image i and caption j are a pair of the data set too: no negatives of each other.
    """
    # Example: the images 0 and 1 are two photos of dogs, both with the caption "a dog", and image 2 is of a cat.
    #   known  1 1 0    Image 0 is classified among captions 0 and 2, image 1 among 1 and 2, image 2 among all three.
    #          1 1 0    The same holds for the captions and their images.
    #          0 0 1
    pairs = torch.arange(len(logits), device=logits.device)
    if known is not None:
        known = known & (pairs[:, None] != pairs)
        logits = logits.masked_fill(known, float("-inf"))
    return F.cross_entropy(logits, pairs), F.cross_entropy(logits.t(), pairs)


@dataclass(frozen=True)
class TextChange:
    """Arguments of a regulariser: text features and text parameters, tuned and frozen."""

    features: torch.Tensor  # (n_cls, E) normalised text features; (B, E) of the captions of a batch
    teacher: torch.Tensor  # those of the teacher
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

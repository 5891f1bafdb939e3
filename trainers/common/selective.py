"""Predicts classes that a head was trained on by the head, and all other classes by their text features.

"Selective inference" of 2SFS, Rethinking Few-Shot Adaptation of Vision-Language Models in Two Stages,
https://arxiv.org/abs/2503.11609
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from .classes import numbered, shorten

UNSEEN = -1  # row of a class that the head was not trained on


def rows_of(classnames: list[str], known: list[str]) -> list[int]:
    """Returns the row of each class in a head for the classes `known`; UNSEEN if it has none.

    Classes are matched by name. If several classes have the same name, the first is matched with the first, and so on.
    Example: classnames (fox, cat, owl), known (cat, dog, fox) gives (2, 0, -1).
    """
    row = {name: i for i, name in enumerate(numbered(known))}
    return [row.get(name, UNSEEN) for name in numbered(classnames)]


def note_unseen(head: str, classnames: list[str], rows: list[int], text_only: bool = False) -> None:
    """Prints which classes a head does not know, if any.

    Args:
        head: what the head is called in the message.
        text_only: whether all classes are then predicted by their text features.
    """
    unseen = [name for name, row in zip(classnames, rows) if row == UNSEEN]
    if unseen:
        predicted = "all are" if text_only or len(unseen) == len(classnames) else "these are"
        print(
            f"The {head} does not know {len(unseen)} of {len(classnames)} classes ({shorten(unseen)}): {predicted} "
            "predicted by their text features"
        )


def selected_weights(head: torch.Tensor, rows: list[int], text: torch.Tensor) -> torch.Tensor:
    """Returns normalised weights (n_cls, E): the head's for the classes that it knows, text features for the others.

    All logits are then cosine similarities times the logit scale, so that a class gains nothing from the length of its
    weight vector.

    Args:
        head: (K, E) weights for normalised image features, not normalised themselves.
        rows: from `rows_of`.
        text: (n_cls, E) normalised text features.
    """
    index = torch.tensor(rows, device=head.device)
    own = F.normalize(head, dim=-1)[index.clamp(min=0)]
    return torch.where((index == UNSEEN)[:, None], text, own)

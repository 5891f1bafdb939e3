"""Text features of captions: any texts, not prompts of classes."""

from __future__ import annotations

import torch

from ..trainer import ClipTrainer
from ..tuned_clip import SIMILARITY

BATCH = 256  # captions


def obstacle(method: type) -> str:
    """Returns why captions cannot be compared with images by a method, a ClipTrainer; "" if they can."""
    name = method.__name__
    steps = (*SIMILARITY, "model_inference")
    changed = [step for step in steps if getattr(method, step) is not getattr(ClipTrainer, step)]
    if not changed:
        return ""
    if set(changed) & {"logits", "encode_image", "model_inference"}:
        return f"{name} has a head for its classes, which says nothing about captions"
    return f"{name} has text features of its classes only, from learned prompts or weights"


def caption_features(trainer, captions: list[str], tuned: bool = True) -> tuple[torch.Tensor, list[bool]]:
    """Returns normalised text features (m, E), fp32 on the CPU, and for each caption whether it was cut off.

    None is encoded twice. `tuned=False` uses the frozen CLIP.
    """
    distinct = list(dict.fromkeys(captions))
    tokens, was_cut = trainer.text_encoder.tokenizer.cut(distinct)
    features = token_features(trainer, tokens, tuned)
    row_of = {caption: row for row, caption in enumerate(distinct)}
    rows = [row_of[caption] for caption in captions]
    return features[rows], [was_cut[row] for row in rows]


@torch.no_grad()
def token_features(trainer, tokens: torch.Tensor, tuned: bool = True) -> torch.Tensor:
    """Returns normalised text features (n, E), fp32 on the CPU, of tokenised captions (n, L).

    Captions of similar length are encoded together, so that little is padded and few masks are needed.
    """
    order = tokens.argmax(dim=-1).argsort(stable=True)  # by length, if the end of text has the largest id
    parts = []
    with trainer.autocast():
        for rows in order.split(BATCH):
            packed = trainer.text_encoder.pack(tokens[rows]).to(trainer.device)
            parts.append(trainer.encode_text(packed, tuned=tuned).float())
    features = torch.cat(parts).cpu()
    return torch.empty_like(features).index_copy_(0, order, features)

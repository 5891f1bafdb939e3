"""Text features of captions: any texts, not prompts of classes. The method says which text it encodes for a caption."""

from __future__ import annotations

import torch

from ..runs.finished import read_run
from .classifier import Classifier, load_tuned
from .saved_run import find_method

BATCH = 256  # captions
NO_CLASS = ["image"]  # trainers need a class


def check_encoder(path: str, epoch: int | None = None) -> None:
    """Raises ValueError if captions cannot be compared with images by a run; else errors as in `read_run`."""
    state = read_run(path, epoch)[0]
    method = state["meta"]["trainer"]
    reason = find_method(method).caption_obstacle(state["state_dict"])
    if reason:
        raise ValueError(f"{path} cannot compare images with captions or other texts: {method} {reason}")


def load_encoder(path: str, **options) -> Classifier:
    """Loads a run for its features of images and captions. Its classes play no role, and it may have none.

    `options` and errors are those of `load_tuned`.
    """
    has_classes = read_run(path, options.get("epoch"))[0]["meta"]["classnames"]
    return load_tuned(path, None if has_classes else NO_CLASS, **options)


def caption_features(trainer, captions: list[str]) -> tuple[torch.Tensor, list[bool]]:
    """Returns normalised text features (m, E), fp32 on the CPU, and for each caption whether it was cut off.

    None is encoded twice.
    """
    distinct = list(dict.fromkeys(captions))
    tokens, was_cut = trainer.caption_tokens(distinct)
    features = token_features(trainer, tokens)
    row_of = {caption: row for row, caption in enumerate(distinct)}
    rows = [row_of[caption] for caption in captions]
    return features[rows], [was_cut[row] for row in rows]


@torch.no_grad()
def token_features(trainer, tokens: torch.Tensor) -> torch.Tensor:
    """Returns normalised text features (n, E), fp32 on the CPU, of tokenised captions (n, L).

    Captions of similar length are encoded together, so that little is padded and few masks are needed.
    """
    order = tokens.argmax(dim=-1).argsort(stable=True)  # by length, if the end of text has the largest id
    parts = []
    with trainer.autocast():
        for rows in order.split(BATCH):
            parts.append(trainer.encode_captions(tokens[rows]).float())
    features = torch.cat(parts).cpu()
    return torch.empty_like(features).index_copy_(0, order, features)

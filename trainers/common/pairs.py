"""Training on images with captions, for every method whose loss needs nothing but image and text features.

The loss is CLIP's own: the mean of the cross-entropies of images among the captions and of captions among the images of
a batch, with the loss terms that the method has for text features.

Each step chooses one caption per image at random, with torch's generator, whose state checkpoints have.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.utils.checkpoint import checkpoint

from dassl.config import cfg_default

from .losses import contrastive_losses

# Training on captions: encode this many images or captions at a time, and each part again in the backward pass, so that
# memory does not grow with the batch size (gradient caching); 0: the whole batch at once
cfg_default.MODEL.GRADIENT_CACHING = 0


class Captions:
    """The captions of the training images as token ids, each different text once.

    Attributes:
        tokens: (n_texts, L) token ids, int32.
        rows: (n, K) rows of `tokens` with the captions of each of n images; -1 after an image's last one.
        counts: (n,) number of captions of each image.
    """

    # Example: image 0 has the captions "a dog" and "a big dog", image 1 has "a dog".
    #   tokens  those of "a dog" and "a big dog"
    #   rows    [[0, 1], [0, -1]]
    #   counts  [2, 1]

    def __init__(self, captions: list[tuple[str, ...]], tokenize: Callable[[list[str]], torch.Tensor]):
        """`captions` has the texts of each image. `tokenize` turns n texts into token ids (n, L)."""
        texts = {}
        for own in captions:
            for text in own:
                texts.setdefault(text, len(texts))
        self.tokens = tokenize(list(texts)).int()
        self.counts = torch.tensor([len(own) for own in captions])
        self.rows = torch.full((len(captions), int(self.counts.max())), -1)
        for image, own in enumerate(captions):
            self.rows[image, : len(own)] = torch.tensor([texts[text] for text in own])

    def choose(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns a random caption of each image, given their numbers (B,).

        Returns:
            Token ids (B, L), int64, and `known` (B, B) of `losses.contrastive_losses`.
        """
        own = self.rows[images]  # (B, K)
        position = (torch.rand(len(images)) * self.counts[images]).long()
        chosen = own.gather(1, position[:, None])  # (B, 1)
        known = (own[:, None, :] == chosen).any(-1)  # [i, j]: whether image i has the text of caption j
        return self.tokens[chosen[:, 0]].long(), known


def losses(trainer, image: torch.Tensor, tokens: torch.Tensor, known: torch.Tensor):
    """Returns logits (B, B) and the weighted loss terms by name, for images (b, 3, H, W) and their captions.

    With several processes, b images are this process's share of a batch of B, and each process computes the loss of the
    whole batch from the features of all.

    Args:
        trainer: a ClipTrainer.
        tokens: (b, L) token ids of a caption of each image.
        known: (B, B), see `Captions.choose`.
    """
    size = trainer.cfg.MODEL.GRADIENT_CACHING
    features = in_parts(trainer.encode_image, image, size)  # (b, E)
    text = in_parts(lambda part: trainer.encode_text(packed(trainer, part)), tokens, size)  # (b, E)
    features, text = trainer.whole_batch(features), trainer.whole_batch(text)  # (B, E)
    logits = trainer.logits(features, text)
    image_loss, text_loss = contrastive_losses(logits, known)
    terms = trainer.text_terms(text, lambda: trainer.whole_batch(teacher_features(trainer, tokens, size)))
    return logits, {"image": image_loss / 2, "text": text_loss / 2, **terms}


def in_parts(encode: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor, size: int) -> torch.Tensor:
    """Returns encode(inputs) (B, E), computed for `size` inputs at a time; for all at once if size is 0.

    This is GradCache (https://arxiv.org/abs/2101.06983): the parts are encoded without a graph; the backward pass
    computes the gradients of the loss with respect to all features, then encodes one part after the other with a graph.
    The gradients are those of the whole batch, as a feature depends on no other input. Dropout is the same both times.
    """
    if not 0 < size < len(inputs):
        return encode(inputs)
    return torch.cat([checkpoint(encode, part, use_reentrant=False) for part in inputs.split(size)])


@torch.no_grad()
def teacher_features(trainer, tokens: torch.Tensor, size: int) -> torch.Tensor:
    """Returns the normalised text features (b, E) of the frozen CLIP."""
    parts = tokens.split(size or len(tokens))
    return torch.cat([trainer.encode_text(packed(trainer, part), tuned=False) for part in parts])


def packed(trainer, tokens: torch.Tensor):
    """Returns captions as packed tokens. On a GPU, a layout that does not depend on the tokens, for CUDA graphs."""
    encoder = trainer.text_encoder
    return encoder.pack_equal(tokens) if tokens.is_cuda else encoder.pack(tokens)

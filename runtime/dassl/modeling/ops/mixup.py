"""Mixup (https://arxiv.org/abs/1710.09412)."""

import torch


def mixup(x1, x2, y1, y2, beta, preserve_order=False):
    """Mixes images (B, C, H, W) and label distributions (B, n_cls) pairwise, with weights from Beta(beta, beta).

    With `preserve_order` the first item of a pair has the larger weight.
    """
    weight = torch.distributions.Beta(beta, beta).sample([x1.shape[0], 1, 1, 1])
    if preserve_order:
        weight = torch.maximum(weight, 1 - weight)
    weight = weight.to(x1.device)
    flat = weight[:, :, 0, 0]  # (B, 1)
    return x1 * weight + x2 * (1 - weight), y1 * flat + y2 * (1 - flat)

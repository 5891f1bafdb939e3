"""Top-k accuracy."""

from collections.abc import Sequence

import torch


def compute_accuracy(output, target: torch.Tensor, topk: Sequence[int] = (1,)) -> list[torch.Tensor]:
    """Returns the accuracy in percent for each k in `topk`, as tensors of shape (1,).

    Args:
        output: logits (B, n_cls), or a tuple or list whose first item they are.
        target: labels (B,).
    """
    if isinstance(output, (tuple, list)):
        output = output[0]
    top = output.topk(max(topk), dim=1).indices  # (B, max k)
    hits = top.eq(target.unsqueeze(1)).float()  # (B, max k)
    return [100.0 * hits[:, :k].sum(dim=1).mean(dim=0, keepdim=True) for k in topk]

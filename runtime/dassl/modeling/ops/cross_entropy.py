"""Cross entropy with label smoothing."""

from torch.nn import functional as F


def cross_entropy(input, target, label_smooth=0, reduction="mean"):
    """Returns the cross entropy of logits (B, n_cls) and labels (B,)."""
    return F.cross_entropy(input, target, label_smoothing=label_smooth, reduction=reduction)

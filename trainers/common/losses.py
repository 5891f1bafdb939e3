"""Loss terms that several methods share."""

import torch
import torch.nn.functional as F


def distillation_loss(text: torch.Tensor, teacher: torch.Tensor) -> torch.Tensor:
    """1 - mean_k cos(w_k, w_k^clip) for features (n_cls, E), a scalar in [0, 2].

    CLIPFit's eq. 3 (eq. 4 prints it with a plus, which would push the features apart) and KgCoOp's eq. 4.
    """
    return 1 - F.cosine_similarity(text, teacher, dim=-1, eps=1e-7).mean()

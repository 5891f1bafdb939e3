"""Distances between the rows of two matrices."""

import torch
from torch.nn import functional as F


def compute_distance_matrix(input1: torch.Tensor, input2: torch.Tensor, metric="euclidean") -> torch.Tensor:
    """Returns distances (m, n) between the rows of (m, dim) and (n, dim): squared "euclidean", or "cosine".

    Raises ValueError if the metric is unknown or the shapes do not match.
    """
    metrics = {"euclidean": euclidean_squared_distance, "cosine": cosine_distance}
    if metric not in metrics:
        raise ValueError(f"metric must be one of {list(metrics)}, got {metric!r}")
    if input1.dim() != 2 or input2.dim() != 2 or input1.shape[1] != input2.shape[1]:
        raise ValueError(f"Expected (m, dim) and (n, dim), got {[*input1.shape]} and {[*input2.shape]}")
    return metrics[metric](input1, input2)


def euclidean_squared_distance(input1: torch.Tensor, input2: torch.Tensor) -> torch.Tensor:
    """Returns squared Euclidean distances (m, n)."""
    return torch.cdist(input1, input2).square()


def cosine_distance(input1: torch.Tensor, input2: torch.Tensor) -> torch.Tensor:
    """Returns one minus the cosine similarity, (m, n)."""
    return 1 - F.normalize(input1, dim=1) @ F.normalize(input2, dim=1).t()

"""Functions of matrices that changes of weights need."""

from __future__ import annotations

import torch


def singular_value_decomposition(W: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Returns U (m, k), sigma (k,), descending, and V (k, n), k = min(m, n), of a matrix (m, n) in fp64.

    From the eigenvectors of the smaller of W^T W and W W^T, which is about three times as fast as torch.linalg.svd. The
    squares cost half of the digits of small singular values; those of CLIP's matrices have enough left.
    """
    m, n = W.shape
    if m < n:
        V, sigma, U = singular_value_decomposition(W.t())
        return U.t(), sigma, V.t()
    squares, V = (tensor.flip(-1) for tensor in torch.linalg.eigh(W.t() @ W))  # descending
    sigma = squares.clamp(min=0).sqrt()
    if sigma[-1] <= 1e-6 * sigma[0]:  # almost singular
        return torch.linalg.svd(W, full_matrices=False)
    return W @ V / sigma, sigma, V.t()


def assemble(parts: list[tuple[tuple[int, int], torch.Tensor]], n: int, dim: int) -> torch.Tensor:
    """Returns a tensor of length n in dimension `dim`, with tensors at given ranges of it and 0 elsewhere."""
    parts = sorted(parts, key=lambda part: part[0])
    if parts[0][0] == (0, n):
        return parts[0][1]
    pieces = []
    end = 0
    for (first, last), tensor in parts:
        pieces += [_zeros(tensor, first - end, dim), tensor]
        end = last
    pieces.append(_zeros(parts[0][1], n - end, dim))
    return torch.cat([piece for piece in pieces if piece.shape[dim]], dim=dim)


def _zeros(like: torch.Tensor, length: int, dim: int) -> torch.Tensor:
    shape = list(like.shape)
    shape[dim] = length
    return like.new_zeros(shape)

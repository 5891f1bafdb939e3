"""Changes of CLIP's weight matrices: functions of few tuned parameters, in place of a matrix W.

    LowRank         W + s B A                     s, r: scale and rank; A (r, n_in), B (n_out, r)
    SingularValues  W + U diag(sigma - sigma_0) V  which is U diag(sigma) V, for W = U diag(sigma_0) V

Each is evaluated once per pass of an encoder, so that the model runs at the cost of CLIP. Export is evaluating it once
more. A change is exactly 0 at first, and linear in a parameter, `linear_in`, so that interpolating that parameter
interpolates the weights.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from ..distributed import Share, dropout
from .algebra import assemble, singular_value_decomposition
from .matrices import NAMES, matrices
from .parameter_sets import parse_blocks, submodule
from .places import Unsupported, encoders


class LowRank(nn.Module):
    """LoRA: the change s B A of a matrix (n_out, n_in), with dropout on the input of A in training.

    LoRA: Low-Rank Adaptation of Large Language Models, https://arxiv.org/abs/2106.09685. A is initialised as in its
    code, like a linear layer of PyTorch, B with 0.
    """

    linear_in = "B"

    def __init__(self, weight: torch.Tensor, rank: int, scale: float, dropout: float = 0.0):
        """
        Args:
            weight: the frozen matrix (n_out, n_in). Only its shape is used.
            scale: s.
            dropout: probability that an element of the input is set to 0.
        """
        super().__init__()
        n_out, n_in = weight.shape
        self.scale, self.dropout = scale, dropout
        self.A = nn.Parameter(torch.empty(rank, n_in))
        self.B = nn.Parameter(torch.zeros(n_out, rank))
        nn.init.kaiming_uniform_(self.A, a=math.sqrt(5))

    def forward(self) -> torch.Tensor:
        """Returns the change (n_out, n_in) of the matrix, fp32."""
        return self.scale * self.B @ self.A

    def decompose(self, weight: torch.Tensor) -> None:
        """Nothing follows from the frozen matrix."""

    def neutral(self) -> torch.Tensor:
        """Returns the value of B for which the change is 0."""
        return torch.zeros_like(self.B)

    def apply_to(self, x: torch.Tensor, share: Share | None) -> torch.Tensor:
        """Returns the change times the input x (..., n_in) of the layer, with dropout: (..., n_out)."""
        x = dropout(x, self.dropout, share)
        return self.scale * F.linear(F.linear(x, self.A.to(x.dtype)), self.B.to(x.dtype))


class SingularValues(nn.Module):
    """The change of a matrix by new singular values, U diag(sigma - sigma_0) V. Its singular vectors stay."""

    linear_in = "sigma"
    dropout = 0.0

    def __init__(self, weight: torch.Tensor):
        """`weight` is the frozen matrix (n_out, n_in), fp32."""
        super().__init__()
        for name in ("U", "V", "sigma_0"):
            self.register_buffer(name, None, persistent=False)
        self.decompose(weight)
        self.sigma = nn.Parameter(self.sigma_0.clone())

    @torch.no_grad()
    def decompose(self, weight: torch.Tensor) -> None:
        """Computes U (n_out, n), V (n, n_in) and sigma_0 (n,) of the frozen matrix.

        In fp64: a checkpoint has sigma only, and another computer must find the same vectors.
        """
        U, sigma, V = singular_value_decomposition(weight.double())
        self.U, self.sigma_0, self.V = U.float(), sigma.float(), V.float()

    def forward(self) -> torch.Tensor:
        """Returns the change (n_out, n_in) of the matrix, fp32."""
        return (self.U * (self.sigma - self.sigma_0)) @ self.V

    def neutral(self) -> torch.Tensor:
        """Returns the value of sigma for which the change is 0."""
        return self.sigma_0.clone()


class WeightChanges(nn.Module):
    """Changes of parameters of a frozen model. A parameter may have several: one for q, k and v each.

    In `state_dict`, the tensors are named after the parameter and its matrix:
    "visual.transformer.resblocks.0.attn.in_proj_weight.q.A".
    """

    def __init__(self, model: nn.Module, places: list, make: Callable | None = None):
        """
        Args:
            places: of each matrix: name of the parameter, name of the matrix, its rows (first, last + 1) in it.
            make: frozen matrix (n_out, n_in), fp32 -> module such as `LowRank`.
        """
        super().__init__()
        self.rows: dict[str, dict[str, tuple[int, int]]] = {}  # name of a parameter -> name of a matrix -> rows
        for name, matrix, rows in places:
            weight = model.get_parameter(name).detach()[slice(*rows)].float()
            submodule(self, name).add_module(matrix, make(weight))
            self.rows.setdefault(name, {})[matrix] = rows

    def __iter__(self):
        """Iterates over the names of the changed parameters."""
        return iter(self.rows)

    def are_low_rank(self) -> bool:
        """Whether there are changes, all of low rank."""
        modules = [module for name in self for _, module in self.parts(name)]
        return bool(modules) and all(isinstance(module, LowRank) for module in modules)

    def parts(self, name: str) -> list[tuple[tuple[int, int], nn.Module]]:
        """Returns the rows and the module of each changed matrix of a parameter."""
        return [(rows, self.get_submodule(f"{name}.{matrix}")) for matrix, rows in self.rows[name].items()]

    def changed(self, name: str, weight: torch.Tensor) -> torch.Tensor:
        """Returns a parameter (n_out, n_in) with its changes, fp32. Differentiable."""
        weight = weight.float()
        return weight + assemble([(rows, module()) for rows, module in self.parts(name)], len(weight), dim=0)

    def has_dropout(self) -> bool:
        """Whether the changes are `linear_terms` now: in training, with dropout."""
        return self.training and self.dropout() > 0

    def dropout(self) -> float:
        """Returns the largest probability of dropout in training."""
        return max((module.dropout for name in self for _, module in self.parts(name)), default=0.0)

    def term(self, name: str, n_out: int, share: Share | None) -> Callable[[torch.Tensor], torch.Tensor]:
        """Returns the function that gives the change of the output of a layer with n_out rows, given its input.

        `share` says which images of a batch the input has; None: all.
        """
        return partial(_term, self.parts(name), n_out, share)

    def decompose(self, model: nn.Module) -> None:
        """Recomputes what follows from the frozen model, after that has changed."""
        for name in self:
            for rows, module in self.parts(name):
                module.decompose(model.get_parameter(name).detach()[slice(*rows)].float())

    def neutral(self) -> dict[str, torch.Tensor]:
        """Returns tensors of `state_dict`, by name, with which nothing is changed. Others keep their values."""
        return {
            f"{name}.{matrix}.{module.linear_in}": module.neutral()
            for name, at in self.rows.items()
            for matrix, (_, module) in zip(at, self.parts(name))
        }


def _term(parts, n_out: int, share: Share | None, x: torch.Tensor) -> torch.Tensor:
    return assemble([(rows, module.apply_to(x, share)) for rows, module in parts], n_out, dim=-1)


def select_matrices(
    model: nn.Module, towers: tuple[str, ...], names: tuple[str, ...], blocks: str, section: str
) -> list[tuple[str, str, tuple[int, int]]]:
    """Returns the places of the matrices that a method's options choose, for `WeightChanges`.

    Args:
        towers: "image", "text" or both.
        names: of `matrices.NAMES`.
        blocks: "all", or numbers from 0 and ranges such as 0-2,5, first3 or last3, in each encoder.
        section: the method's section, for error messages.

    Raises:
        ValueError: unknown name or block. Unsupported: an encoder without such matrices or blocks.
    """
    check_matrices(names, section)
    found = []
    for encoder in towers:
        all_blocks = matrices(model, encoder == "image")
        if not all_blocks:
            raise Unsupported(f"TRAINER.{section}.ENCODERS: the {encoder} encoder has no transformer blocks")
        for i in parse_blocks(blocks, len(all_blocks), f"TRAINER.{section}.BLOCKS"):
            for name in names:
                for matrix in all_blocks[i][name]:
                    found.append((matrix.parameter, name, matrix.rows))
    return found


def chosen_matrices(model: nn.Module, options, section: str) -> list[tuple[str, str, tuple[int, int]]]:
    """Returns `select_matrices` of a method's keys ENCODERS, MATRICES and BLOCKS."""
    chosen = encoders(options.ENCODERS, f"TRAINER.{section}.ENCODERS")
    return select_matrices(model, chosen, options.MATRICES, options.BLOCKS, section)


def check_matrices(names: tuple[str, ...], section: str) -> None:
    """Raises ValueError unless names are one or more of `matrices.NAMES`."""
    if isinstance(names, str) or not names or not set(names) <= set(NAMES) or len(set(names)) < len(names):
        raise ValueError(f"TRAINER.{section}.MATRICES must be one or more of {NAMES}, each once, got {names!r}")


def check_rank(model: nn.Module, places: list, rank: int, key: str) -> None:
    """Raises Unsupported if a rank, the value of `key`, is above that of a matrix in `places`."""
    highest = min(min(model.get_parameter(name)[slice(*rows)].shape) for name, _, rows in places)
    if rank > highest:
        raise Unsupported(f"{key} must be at most {highest}, the rank of the smallest matrix it changes, got {rank}")

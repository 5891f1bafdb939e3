"""Terms added to linear layers: y = x W^T + b becomes y + term(x), for chosen weights W of any model.

For what no weight expresses, such as dropout on the input of a low-rank change of W. The layers are found by their
weight, whoever multiplies with it: a linear layer, PyTorch's attention, or code of a library that calls F.linear.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import Callable, Dict, Tuple

import torch
import torch.nn.functional as F

Term = Callable[[torch.Tensor], torch.Tensor]  # input (..., n_in) of the layer -> (..., n_out)
Terms = Dict[int, Tuple[torch.Tensor, Term]]  # id of a weight -> the weight and its term

_terms: Terms = {}  # of the current forward pass
_linear = F.linear


def of(weights: dict[str, torch.Tensor], terms: dict[str, Term]) -> Terms:
    """Returns the terms of the weights with the same names."""
    return {id(weights[name]): (weights[name], term) for name, term in terms.items()}


def current() -> Terms:
    """Returns the terms of the current forward pass, for a later recomputation of a part of it."""
    return _terms


@contextmanager
def using(added: Terms):
    """Context of a forward pass with these terms. F.linear is replaced for that time, if there are any."""
    global _terms
    if not added and not _terms:
        yield
        return
    former, former_linear = _terms, F.linear
    _terms, F.linear = added, _linear_with_term if added else _linear
    try:
        with _without_fast_path():
            yield
    finally:
        _terms, F.linear = former, former_linear


def add(y: torch.Tensor, x: torch.Tensor, weight: torch.Tensor) -> torch.Tensor:
    """Returns the output y of a linear layer with input x, plus the term of its weight, if it has one."""
    found = _terms.get(id(weight))
    return y if found is None else y + found[1](x)


def _linear_with_term(input, weight, bias=None):  # the names of F.linear's arguments
    return add(_linear(input, weight, bias), input, weight)


@contextmanager
def _without_fast_path():
    """PyTorch's attention has a fast path for frozen layers, which does not call F.linear."""
    mha = getattr(torch.backends, "mha", None)  # not in the oldest versions of torch
    if mha is None:
        yield
        return
    enabled = mha.get_fastpath_enabled()
    mha.set_fastpath_enabled(False)
    try:
        yield
    finally:
        mha.set_fastpath_enabled(enabled)

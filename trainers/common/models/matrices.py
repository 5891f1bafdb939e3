"""Finds the weight matrices of the blocks of an encoder by module type and place, in the model of any library.

A block has `q`, `k`, `v` (queries, keys, values) and `o` (output) of its attention, and `up` and `down` of its FFN.
Some models have q, k and v as thirds of one parameter, and some FFNs have several matrices before the last.
"""

from __future__ import annotations

from typing import Dict, List, NamedTuple

from torch import nn

from . import places

NAMES = ("q", "k", "v", "o", "up", "down")


class Matrix(NamedTuple):
    """A matrix of a block.

    Attributes:
        parameter: name of the parameter of the model.
        rows: its rows in the parameter, from the first to before the last; (0, n) if it has all n.
    """

    parameter: str
    rows: tuple[int, int]


Matrices = Dict[str, List[Matrix]]  # name in NAMES -> the matrices of one block


def matrices(model: nn.Module, image: bool) -> list[Matrices]:
    """Returns the matrices of each block of one encoder.

    Empty if the blocks have other layers there, such as convolutions.
    """
    found = [_of_block(model, name, block) for name, block in places.blocks(model, image)]
    return found if all(set(at) == set(NAMES) for at in found) else []


def _of_block(model: nn.Module, block_name: str, block: nn.Module) -> Matrices:
    found: Matrices = {}
    ffn = []
    for name, module in block.named_modules():
        path = f"{block_name}.{name}"
        owner = block.get_submodule(name.rpartition(".")[0])
        if not places.is_used(model, path) or isinstance(owner, nn.MultiheadAttention):
            continue
        if isinstance(module, nn.MultiheadAttention):
            found.update(_of_attention(path, module))
        elif isinstance(module, nn.Linear) and places.in_attention(block, name):
            whole = (0, module.out_features)
            if module.out_features == 3 * module.in_features:
                found.update(_thirds(f"{path}.weight", module.in_features))
            else:
                found.setdefault(_letter(name), []).append(Matrix(f"{path}.weight", whole))
        elif isinstance(module, nn.Linear):
            ffn.append(Matrix(f"{path}.weight", (0, module.out_features)))
    if len(ffn) > 1:
        found["up"], found["down"] = ffn[:-1], ffn[-1:]
    return found


def _of_attention(path: str, module: nn.MultiheadAttention) -> Matrices:
    """The matrices of PyTorch's attention, which multiplies with its parameters itself."""
    output = [Matrix(f"{path}.out_proj.weight", (0, module.embed_dim))]
    if module.in_proj_weight is not None:
        return {**_thirds(f"{path}.in_proj_weight", module.embed_dim), "o": output}
    inputs = {letter: [Matrix(f"{path}.{letter}_proj_weight", (0, module.embed_dim))] for letter in "qkv"}
    return {**inputs, "o": output}


def _thirds(parameter: str, width: int) -> Matrices:
    return {letter: [Matrix(parameter, (i * width, (i + 1) * width))] for i, letter in enumerate("qkv")}


def _letter(name: str) -> str:
    """Returns which matrix a linear layer of attention is: "self_attn.q_proj" and "attention.query" are q."""
    first = name.rpartition(".")[2][:1]
    return first if first in "qkv" else "o"

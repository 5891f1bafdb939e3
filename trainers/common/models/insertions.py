"""Insertions: trainable modules between the layers of the blocks of a frozen encoder.

A block has two places before the sum with the residual, and one in parallel to the block:

- `after_attention`: on the output of the attention's output projection;
- `after_ffn`: on the output of the last linear layer of the FFN;
- `parallel_to_block`: on the block's input after its first LayerNorm. The result is added to the block's output.

Learned tokens can be inserted before a block too, after the first token of each sequence, in our own encoders only.
They stay in the sequence until the end, and those of a later block replace them, or are mixed with their outputs.

The modules belong to the method (`InsertedModules`), not to the encoder. Each forward pass of an encoder is given their
functions and tensors. Where nothing is given, a block computes what it computes without this module.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Dict, NamedTuple, Union

import torch
from torch import nn

PLACES = ("after_attention", "after_ffn")
PARALLEL = "parallel_to_block"
TOKENS = "tokens"


class Inserted(NamedTuple):
    """A function at a place of a block: y (..., d) becomes function(y, *tensors) (..., d).

    The function is the same object in every step, and what changes is in the tensors. So a compiled block is not
    compiled again, and a recomputed one uses the tensors of its first pass.
    """

    function: Callable[..., torch.Tensor]
    tensors: tuple[torch.Tensor, ...]


class LearnedTokens(NamedTuple):
    """Learned tokens (n, d) of a block, and their share in what is inserted if there are n tokens already.

    The other part, 1 - share, are the outputs of these, from the block before.
    """

    tokens: torch.Tensor
    share: float = 1.0


# Number of a block -> place -> what is inserted there
Insertions = Dict[int, Dict[str, Union[Inserted, LearnedTokens]]]


def insert(inserted: dict[str, Inserted], place: str, y: torch.Tensor) -> torch.Tensor:
    """Applies what is inserted at a place of a block to y (..., d). Returns y if nothing is."""
    if place not in inserted:
        return y
    function, tensors = inserted[place]
    return function(y, *tensors)


def insert_tokens(inserted: dict, x: torch.Tensor, present: int) -> tuple[torch.Tensor, int]:
    """Puts the `LearnedTokens` of a block after the first token of x (B, T, d), instead of the `present` ones there.

    Returns:
        x (B, T - present + n, d) and n; x and `present` if the block has none.
    """
    if TOKENS not in inserted:
        return x, present
    learned, share = inserted[TOKENS]
    tokens = learned.expand(x.shape[0], -1, -1)
    if present and share < 1:
        tokens = share * tokens + (1 - share) * x[:, 1 : 1 + present]
    return torch.cat([x[:, :1], tokens, x[:, 1 + present :]], dim=1), len(learned)


class InsertedModules(nn.Module):
    """The modules that a method inserts into the blocks of one encoder.

    A module has `function`, a static method, and `tensors()`, its fp32 arguments; see `Inserted`.
    """

    def __init__(self, widths: dict[int, dict[str, int]], make: Callable[[int], nn.Module]):
        """
        Args:
            widths: number of a block -> place -> width d there.
            make: d -> the module for a place.
        """
        super().__init__()
        self.blocks = nn.ModuleDict(
            {str(i): nn.ModuleDict({place: make(width) for place, width in at.items()}) for i, at in widths.items()}
        )

    def tensors(self, module: nn.Module) -> tuple[torch.Tensor, ...]:
        """Returns the arguments of a module's function. Called once per step, not once per token."""
        return module.tensors()

    def forward(self, dtype: torch.dtype) -> Insertions:
        """Returns what is inserted, with tensors in the dtype of the encoder."""
        return {
            int(i): {
                place: Inserted(module.function, tuple(tensor.to(dtype) for tensor in self.tensors(module)))
                for place, module in at.items()
            }
            for i, at in self.blocks.items()
        }

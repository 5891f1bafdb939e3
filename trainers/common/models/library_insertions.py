"""Insertions into the blocks of another library's model: forward hooks at the places of `places.insertion_points`.

A hook applies what its block has as `inserted`, which is set for the time of a forward pass only.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

from torch import nn

from . import places
from .insertions import PARALLEL, Inserted, Insertions, insert


class BlockHooks:
    """The hooks of one encoder. They are added when something is first inserted, so that no other run has them."""

    def __init__(self, model: nn.Module, image: bool):
        self.model = model
        self.image = image
        self.blocks: list[nn.Module] = []  # those with hooks

    @contextmanager
    def inserting(self, inserted: Insertions | None):
        """Context of a forward pass with insertions; None: without."""
        if not inserted:
            yield
            return
        if not self.blocks:
            self.blocks = [block for _, block in places.blocks(self.model, self.image)]
            for block, points in zip(self.blocks, places.insertion_points(self.model, self.image)):
                block.inserted = {}
                for place, (name, _) in points.items():
                    hook = _add_parallel if place == PARALLEL else partial(_apply, block, place)
                    self.model.get_submodule(name).register_forward_hook(hook)
        with set_inserted({self.blocks[i]: at for i, at in inserted.items()}):
            yield


@contextmanager
def set_inserted(inserted: dict[nn.Module, dict[str, Inserted]]):
    """Context in which blocks have these insertions. Blocks without hooks are skipped."""
    former = {block: block.inserted for block in inserted if "inserted" in block.__dict__}
    for block in former:
        block.inserted = inserted[block]
    try:
        yield
    finally:
        for block, before in former.items():
            block.inserted = before


def inserted_in(block: nn.Module) -> dict[str, Inserted]:
    """Returns what is inserted into a block in the current pass, by place."""
    return block.__dict__.get("inserted", {})


def _apply(block: nn.Module, place: str, module: nn.Module, inputs, output):
    """A forward hook: returns the output of the module at a place with what is inserted there."""
    if isinstance(output, tuple):  # of nn.MultiheadAttention, with the attention weights
        return (insert(block.inserted, place, output[0]), *output[1:])
    return insert(block.inserted, place, output)


def _add_parallel(block: nn.Module, inputs, output):
    """A forward hook of a block: returns its output plus what is inserted parallel to it.

    A block without LayerNorms of its own (BERT) gets the output of the previous block's last LayerNorm.
    """
    if PARALLEL not in block.inserted:
        return output
    norm = places.first_norm(block)
    y = insert(block.inserted, PARALLEL, inputs[0] if norm is None else norm(inputs[0]))
    return (output[0] + y, *output[1:]) if isinstance(output, tuple) else output + y

"""Evaluation on several processes: every process computes the logits of some batches, and the main one evaluates all.

Batches are those of one process, so that logits and results are equal bit for bit, and no image counts twice.
"""

from __future__ import annotations

import contextlib

import torch

from .. import distributed


class OwnBatches:
    """The batches of a loader that this process evaluates: number `rank`, `rank` + `size`, ..."""

    def __init__(self, loader):
        self.loader = loader

    def __len__(self) -> int:
        return len(range(distributed.rank(), len(self.loader), distributed.size()))

    def __iter__(self):
        yield from distributed.own_batches(self.loader)
        rounds = -(-len(self.loader) // distributed.size())
        if len(self) < rounds:
            batches_of_all(None)  # the last batches are fewer than the processes

    def __getattr__(self, name: str):
        return getattr(self.loader, name)


@contextlib.contextmanager
def of_processes(trainer, split: str):
    """Context in which the trainer's loader of `split` has the batches of this process only."""
    if distributed.size() == 1:
        yield
        return
    name = "val_loader" if split == "val" else "test_loader"
    loader = getattr(trainer, name)
    setattr(trainer, name, OwnBatches(loader))
    try:
        yield
    finally:
        setattr(trainer, name, loader)


def batches_of_all(batch: tuple | None) -> list[tuple]:
    """Returns the batches that the processes evaluate at a time, in their order, in the main process; [] in the others.

    Args:
        batch: this process's logits (B, n_cls), labels (B,) and what else there is, with options by name; None if it
            has no batch left.
    """
    if distributed.size() == 1:
        return [batch]
    if batch is not None:
        args, options = batch
        batch = [x.detach().cpu() if isinstance(x, torch.Tensor) else x for x in args], options
    return [found for found in distributed.to_main(batch) if found is not None]

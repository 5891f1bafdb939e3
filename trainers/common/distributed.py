"""One run on several processes, which torchrun starts: each takes its share of every batch, and all learn the same.

All processes have the same random numbers, the same parameters and the same order of images. Process r computes rows
start to stop of a batch of B images, and multiplies its loss by its weight, (stop - start) / B. The weights sum to 1,
so the sum of the gradients is that of the whole batch, for three kinds of loss terms:

- a mean over images;
- a term that depends on no image, which is the same in every process;
- a term computed in every process from the features of all images (`gathered`).

Without torchrun there is one process, whose share is the whole batch. `runtime/processes.py` starts the processes.
"""

from __future__ import annotations

import contextlib
import itertools
import os
from dataclasses import dataclass

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F

ENDED = (
    "another process of this run ended, and this one with it: see the message of that process; the same command resumes"
)
LOST = ("gloo", "NCCL", "onnection", "ocket", "Broken pipe")  # in the messages of a lost connection


def size() -> int:
    """Returns the number of processes of this run."""
    return dist.get_world_size() if dist.is_available() and dist.is_initialized() else 1


def rank() -> int:
    """Returns the number of this process, from 0."""
    return dist.get_rank() if size() > 1 else 0


def is_main() -> bool:
    """Whether this is the process that writes the files of the run."""
    return rank() == 0


def check_started() -> None:
    """Raises ValueError if torchrun has started several processes that do not know each other."""
    if int(os.environ.get("WORLD_SIZE") or 1) > 1 and "TORCHELASTIC_RUN_ID" in os.environ and size() == 1:
        raise ValueError(
            f"torchrun has started {os.environ['WORLD_SIZE']} processes, which only CLIPFit's own train.py supports: "
            "run one process"
        )


def check_trainer(trainer) -> None:
    """Raises ValueError if there are several processes and the trainer does not share its batches among them.

    Prints that one process is enough if the trainer has no gradient steps.
    """
    if size() == 1:
        return
    if not getattr(trainer, "trainable", True):
        name = trainer.cfg.TRAINER.NAME
        print(f"Note: {name} trains nothing by gradients, so one process is enough; {size()} share the images")
    if not hasattr(trainer, "take_share"):
        raise ValueError(
            f"torchrun has started {size()} processes, but {trainer.cfg.TRAINER.NAME} is no ClipTrainer and knows "
            "nothing of them: run python train.py ..."
        )


@contextlib.contextmanager
def explained():
    """Raises ConnectionError if another process ends while this one waits for it."""
    try:
        yield
    except RuntimeError as error:
        if any(word in str(error) for word in LOST):
            raise ConnectionError(ENDED) from error
        raise


def wait() -> None:
    """Waits until all processes have come here."""
    if size() > 1:
        with explained():
            dist.all_reduce(torch.zeros(1))


@contextlib.contextmanager
def main_first():
    """Context in which the main process is first, and the others follow when it has left: they find its files."""
    if not is_main():
        wait()
    yield
    if is_main():
        wait()


def of_main(value):
    """Returns the `value`, any Python object, of the main process."""
    if size() == 1:
        return value
    values = [value]
    with explained():
        dist.broadcast_object_list(values)
    return values[0]


def check_same(start_epoch: int, folder: str) -> None:
    """Raises ValueError if this process has found another checkpoint in the run directory than the main process."""
    if start_epoch != of_main(start_epoch):
        raise ValueError(
            f"--output-dir {folder} has other checkpoints on this machine than on the first one: use a folder that all "
            "machines of the run share"
        )


# Sums


def sum_(tensor: torch.Tensor) -> torch.Tensor:
    """Replaces a tensor by its sum over all processes."""
    if size() > 1:
        with explained():
            dist.all_reduce(tensor)
    return tensor


def true_in_all(flags: np.ndarray) -> np.ndarray:
    """Returns which flags (n,) are true in all processes."""
    return sum_(torch.from_numpy(flags.astype(np.int32))).numpy() == size() if size() > 1 else flags


def total(tensors: list[torch.Tensor], share: Share) -> list[torch.Tensor]:
    """Returns the sums of tensors over all processes, which send one flat tensor. A process without images adds 0."""
    flat = torch.cat([tensor.flatten() for tensor in tensors])
    if not share.n:
        flat.zero_()  # they may be infinite or NaN
    pieces = sum_(flat).split([tensor.numel() for tensor in tensors])
    return [piece.view(tensor.shape) for piece, tensor in zip(pieces, tensors)]


def rows_of_all(parts: list[tuple], n: int, device="cpu") -> torch.Tensor:
    """Returns the rows (n, ...) that all processes have, each some of them.

    Args:
        parts: (index, rows) of this process: the numbers (m,) of rows, and these rows (m, ...).
    """
    shape, dtype = of_main((parts[0][1].shape[1:], parts[0][1].dtype) if parts else None)
    whole = torch.zeros(n, *shape, dtype=dtype, device=device)
    for index, rows in parts:
        whole[index.to(whole.device)] = rows.to(whole.device)
    return sum_(whole)


def to_main(value) -> list:
    """Returns the `value` of each process, any Python objects, in the main process; an empty list in the others."""
    if size() == 1:
        return [value]
    values = [None] * size() if is_main() else None
    with explained():
        dist.gather_object(value, values)
    return values or []


@torch.no_grad()
def copy_of_main(tensors) -> None:
    """Replaces tensors by those of the main process."""
    if size() > 1:
        with explained():
            for tensor in tensors:
                sent = tensor.contiguous()
                dist.broadcast(sent, 0)
                tensor.copy_(sent)


# Shares of a batch


@dataclass(frozen=True)
class Share:
    """The rows of a batch that are this process's: `start` to `stop` of `total`.

    Example: a batch of 5 on 2 processes has rows 0 to 2 and rows 2 to 5. In a batch of 1 on 2 processes, the first has
    none. It computes row 0 with the weight 0, as encoders need an image.
    """

    start: int
    stop: int
    total: int

    @property
    def n(self) -> int:
        return self.stop - self.start

    @property
    def computed(self) -> int:
        """Number of rows that are computed."""
        return max(1, self.n)

    @property
    def weight(self) -> float:
        return self.n / self.total

    @property
    def rows(self) -> slice:
        """The rows that are computed."""
        return slice(self.start, self.start + self.computed)


def share_of(total: int) -> Share:
    """Returns this process's share of a batch of `total` images."""
    return Share(total * rank() // size(), total * (rank() + 1) // size(), total)


def own_batches(loader):
    """Yields the batches of a loader that are this process's: number `rank`, `rank` + `size`, ..."""
    if not hasattr(loader, "share_batches"):
        yield from itertools.islice(loader, rank(), None, size())
        return
    loader.share_batches(rank(), size())
    try:
        yield from loader
    finally:
        loader.share_batches(0, 1)


def gathered(x: torch.Tensor, share: Share | None) -> torch.Tensor:
    """Returns the rows (B, ...) of all processes, given those of this one's share. Differentiable."""
    return x if share is None else _Gather.apply(x, share)


class _Gather(torch.autograd.Function):
    """Sums the rows of the processes, each with zeros in the rows of the others."""

    @staticmethod
    def forward(ctx, x, share: Share):
        ctx.share = share
        whole = x.new_zeros(share.total, *x.shape[1:])
        whole[share.start : share.stop] = x[: share.n]
        return sum_(whole)

    @staticmethod
    def backward(ctx, gradient):
        share = ctx.share
        own = gradient.new_zeros(share.computed, *gradient.shape[1:])
        own[: share.n] = sum_(gradient.clone(memory_format=torch.contiguous_format))[share.start : share.stop]
        return own, None


def dropout(x: torch.Tensor, p: float, share: Share | None) -> torch.Tensor:
    """Returns x with dropout, whose mask is the share's part of the mask that one process has for the whole batch.

    The images are in the outermost dimension of x in memory, each in one or more rows. Without a share, x is the same
    in all processes.
    """
    if share is None:
        return F.dropout(x, p)
    order = sorted(range(x.dim()), key=lambda i: -x.stride(i))  # of the dimensions in memory
    sizes = [x.shape[i] for i in order]
    rows = sizes[0] // share.computed  # per image
    mask = F.dropout(x.new_ones(share.total * rows, *sizes[1:]), p)[share.start * rows :][: sizes[0]]
    return x * mask.permute([order.index(i) for i in range(x.dim())])

"""Memory that worker processes share with their parent, for batches on their way to it."""

import itertools
import math
import mmap
import weakref

import numpy as np
from torch.utils.data import get_worker_info

_numbers = itertools.count()
_slots = weakref.WeakValueDictionary()  # number -> SharedBatches; processes forked later know the same


class SharedBatches:
    """For each worker process `n_slots` pieces of `n_bytes`, which it uses in turn.

    Torch would open, map and unmap a new file in /dev/shm for every batch, which takes longer than filling it. This
    memory is made once, page by page as it is used, and is not that of /dev/shm, which is small in containers.

    Nobody says when a slot is free again: torch asks a process for one more batch than `prefetch_factor` only when the
    oldest one, which came from the slot in turn, has been finished, so prefetch_factor + 1 slots are enough.
    """

    def __init__(self, n_workers: int, n_slots: int, n_bytes: int):
        self.n_slots, self.n_taken = n_slots, 0
        self.memory = np.frombuffer(mmap.mmap(-1, n_workers * n_slots * n_bytes), np.uint8).reshape(-1, n_bytes)
        self.number = next(_numbers)
        _slots[self.number] = self

    def take(self, shape: tuple) -> tuple | None:
        """The next place of this process for bytes of `shape`; None if they are too many, or this is the parent."""
        worker = get_worker_info()
        if worker is None or math.prod(shape) > self.memory.shape[1]:
            return None
        self.n_taken += 1
        return self.number, worker.id * self.n_slots + self.n_taken % self.n_slots, shape


def bytes_at(place: tuple) -> np.ndarray:
    """The memory of a place that `take` gave, in any process."""
    number, slot, shape = place
    return _slots[number].memory[slot, : math.prod(shape)].reshape(shape)

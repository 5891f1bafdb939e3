"""Shared memory through which worker processes send batches to the main process."""

import itertools
import math
import mmap
import weakref

import numpy as np
from torch.utils.data import get_worker_info

_numbers = itertools.count()
_memories = weakref.WeakValueDictionary()  # number -> SharedBatches; forked processes inherit it


class SharedBatches:
    """`n_slots` slots of `n_bytes` for each worker process, which the worker fills in turn.

    Torch would open, map and unmap a file in /dev/shm per batch, which takes longer than filling it. This memory is
    mapped once, and is not in /dev/shm, which is small in containers.

    The main process does not report which slots are free. At any time at most `prefetch_factor` batches of a worker are
    requested and one more is being finished, so prefetch_factor + 1 slots are enough.

    Example: 2 workers, prefetch_factor 2, so 3 slots per worker. Worker 1 owns the rows 3, 4 and 5 of `memory`:

        batch of worker 1    first  second  third  fourth
        slot (row)           4      5       3      4        # the main process has finished the first batch by now
    """

    def __init__(self, n_workers: int, n_slots: int, n_bytes: int):
        self.n_slots = n_slots
        self.n_taken = 0
        self.memory = np.frombuffer(mmap.mmap(-1, n_workers * n_slots * n_bytes), np.uint8).reshape(-1, n_bytes)
        self.number = next(_numbers)
        _memories[self.number] = self

    def take(self, shape: tuple) -> tuple | None:
        """Returns the address of the next slot of this worker process, (number, row, shape).

        Returns None if bytes of `shape` do not fit into a slot, or if this is not a worker process.
        """
        worker = get_worker_info()
        if worker is None or math.prod(shape) > self.memory.shape[1]:
            return None
        self.n_taken += 1
        return self.number, worker.id * self.n_slots + self.n_taken % self.n_slots, shape


def bytes_at(slot: tuple) -> np.ndarray:
    """Returns the memory of a slot that `take` gave, in any process, as an array (B, H, W, 3)."""
    number, row, shape = slot
    return _memories[number].memory[row, : math.prod(shape)].reshape(shape)

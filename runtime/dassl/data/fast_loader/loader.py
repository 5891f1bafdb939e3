"""Torch's loader with worker processes that stay, and batches that travel as bytes."""

import copy
import multiprocessing
import random
import sys
import time
import weakref
from functools import partial

import numpy as np
import torch
from torch.utils.data import BatchSampler, DataLoader, get_worker_info
from torch.utils.data._utils.worker import _generate_state

from .byte_batch import ByteBatch, collate
from .shared_batches import SharedBatches


class Loader(DataLoader):
    """The batches that torch's loader gives, the random numbers of augmentations included.

    With `stay`, worker processes live as long as the loader instead of one pass. `cache`, if any, is the ImageCache
    that the dataset reads from. Batches of up to `batch_bytes` as bytes come through memory of their own. A system
    without the means for worker processes is a ValueError of one line.
    """

    def __init__(self, dataset, *, num_workers: int, stay: bool = False, cache=None, batch_bytes: int = 0, **options):
        super().__init__(
            dataset,
            num_workers=num_workers,
            collate_fn=collate,
            persistent_workers=stay and num_workers > 0,
            multiprocessing_context=start_method() if num_workers > 0 else None,
            **options,
        )
        batches = SeededBatches(self.sampler, self.batch_size, self.drop_last, num_workers)
        self.__dict__["batch_sampler"] = batches  # torch takes one at creation only without the other three
        self.cache = cache
        self.batch_bytes = batch_bytes
        self.passes = 0
        self.under_way = None  # weak reference to the pass that the processes serve

    def __iter__(self):
        if self.persistent_workers and self.under_way is not None and self.under_way() is not None:
            return iter(self._twin())
        try:
            if self.num_workers > 0:
                torch.multiprocessing.Lock()  # fails where there is no /dev/shm, and leaves nothing half-started
            if self.persistent_workers and self._iterator is not None:
                self.batch_sampler.seed = torch.empty((), dtype=torch.int64).random_(generator=self.generator).item()
            else:
                self.collate_fn = self._collate()
            batches = super().__iter__()
        except (OSError, ImportError) as error:
            raise self._cannot_run(f"this system cannot start them ({error})") from error
        one_pass = self._watched(batches)
        self.under_way = weakref.ref(one_pass)
        return one_pass

    def _twin(self):
        """The same loader with processes of its own, for a pass within a pass: those that stay can serve one only."""
        twin = copy.copy(self)
        twin.__dict__["batch_sampler"] = copy.copy(self.batch_sampler)
        twin.batch_sampler.seed = twin._iterator = twin.under_way = twin.cache = None
        return twin

    def _collate(self):
        """For processes that are about to start: each pass of those that do not stay has slots of its own."""
        if self.num_workers == 0 or self.batch_bytes == 0 or start_method() != "fork":
            return collate
        try:
            return partial(collate, slots=SharedBatches(self.num_workers, self.prefetch_factor + 1, self.batch_bytes))
        except (OSError, ValueError, OverflowError):  # the system promises no such memory
            return collate

    def _watched(self, batches):
        try:
            for batch in batches:
                yield batch.finish() if isinstance(batch, ByteBatch) else batch
            self.passes += 1
            if self.passes == 1 and (line := self._kept()):
                print(line)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            if "signal: Terminated" in reason:
                time.sleep(1)  # sent to all processes of the job: let this one's own end it
            if any(word in reason for word in ("killed by signal", "exited unexpectedly", "</torch_")):
                self._iterator = None  # the next pass starts new processes
                raise self._cannot_run(f"they ran out of memory ({reason})") from error
            raise
        finally:
            self.under_way = None

    def _kept(self) -> str:
        return self.cache.report([item.impath for item in self.dataset.data_source]) if self.cache else ""

    def _cannot_run(self, reason: str) -> ValueError:
        return ValueError(
            f"DATALOADER.NUM_WORKERS {self.num_workers} processes: {reason}; enlarge the shared memory /dev/shm "
            "(in Docker with --shm-size), or set DATALOADER.NUM_WORKERS 0"
        )


class SeededBatches(BatchSampler):
    """Batches of indices of which the first of every worker carries the seed of the pass.

    Torch starts processes anew for every pass, with a new seed. Processes that stay would go on with the random numbers
    of the last pass, so they are seeded with what new ones would have got.
    """

    def __init__(self, sampler, batch_size: int, drop_last: bool, num_workers: int):
        super().__init__(sampler, batch_size, drop_last)
        self.num_workers = num_workers
        self.seed = None  # None: torch seeds the processes as it starts them

    def __iter__(self):
        for number, indices in enumerate(super().__iter__()):  # worker i gets batches i, i + num_workers, ...
            batch = Batch(indices)
            batch.seed = self.seed if number < self.num_workers else None
            yield batch


class Batch(list):
    """Indices of a batch; whoever iterates over them in a worker process has its generators seeded first."""

    seed = None

    def __iter__(self):
        worker = get_worker_info()
        if worker is not None and self.seed is not None:  # as torch's worker does when it starts
            random.seed(self.seed + worker.id)
            torch.manual_seed(self.seed + worker.id)
            np.random.seed(_generate_state(self.seed, worker.id))
        return super().__iter__()


def start_method() -> str | None:
    """How worker processes start: as a copy of this one on Linux, fast and with its memory, unless set otherwise."""
    chosen = multiprocessing.get_start_method(allow_none=True)
    return "fork" if chosen is None and sys.platform == "linux" else chosen

"""Torch's loader with persistent worker processes that send batches as uint8."""

import copy
import itertools
import multiprocessing
import sys
import time
import weakref
from functools import partial

import torch
from torch.utils.data import BatchSampler, DataLoader, get_worker_info

from .byte_batch import ByteBatch, collate
from .random_streams import n_processes, seed_stream, switch_stream
from .shared_batches import SharedBatches


class Loader(DataLoader):
    """Gives the same batches as torch's loader, including the random numbers of augmentations.

    Args:
        num_workers: as for torch's loader. At most as many processes are started as there are cores; see
            `random_streams`.
        persistent: keep worker processes for all passes over the loader, instead of new ones for each pass.
        cache: the ImageCache that the dataset reads from, or None.
        batch_bytes: batches of at most this many bytes of pixels are sent through SharedBatches; 0: none.

    Iterating raises ValueError with one line if the system cannot start worker processes or kills them.
    """

    def __init__(
        self, dataset, *, num_workers: int, persistent: bool = False, cache=None, batch_bytes: int = 0, **options
    ):
        super().__init__(
            dataset,
            num_workers=n_processes(num_workers),
            collate_fn=collate,
            persistent_workers=persistent and num_workers > 0,
            multiprocessing_context=start_method() if num_workers > 0 else None,
            **options,
        )
        batches = SeededBatches(self.sampler, self.batch_size, self.drop_last, num_workers, self.num_workers)
        # torch accepts a batch_sampler argument only without sampler, batch_size and drop_last, so it is set afterwards
        self.__dict__["batch_sampler"] = batches
        self.cache = cache
        self.batch_bytes = batch_bytes
        self.passes = 0
        self.current_pass = None  # weak reference to the pass that the persistent workers serve

    def share_rows(self, rows_of) -> None:
        """Makes every batch that part of it which `rows_of(number of images) -> slice` says.

        The images are those of the whole batch, with the same random numbers. Images that are left out are not decoded.
        Each batch has the number of images of the whole one, `batch["batch_size"]` (B,), if the dataset is a
        DatasetWrapper; other datasets give whole batches.
        """
        self.batch_sampler.rows_of = rows_of

    def share_batches(self, rank: int, size: int) -> None:
        """Makes the next passes give batch `rank`, `rank` + `size`, ... only. `len` stays that of all batches."""
        self.batch_sampler.every = rank, size

    def __iter__(self):
        if self.persistent_workers and self.current_pass is not None and self.current_pass() is not None:
            return iter(self._copy_with_own_workers())
        try:
            if self.num_workers > 0:
                torch.multiprocessing.Lock()  # fails early without /dev/shm, before any worker is started
            if self.persistent_workers and self._iterator is not None:
                self.batch_sampler.seed = torch.empty((), dtype=torch.int64).random_(generator=self.generator).item()
            else:
                self.collate_fn = self._collate()
            batches = super().__iter__()
        except (OSError, ImportError) as error:
            raise self._worker_error(f"this system cannot start them ({error})") from error
        one_pass = self._finished_batches(batches)
        self.current_pass = weakref.ref(one_pass)
        return one_pass

    def _copy_with_own_workers(self):
        """Returns a copy of this loader for a pass within a pass: persistent workers can serve only one at a time."""
        twin = copy.copy(self)
        twin.__dict__["batch_sampler"] = copy.copy(self.batch_sampler)
        twin.batch_sampler.seed = None
        twin._iterator = None
        twin.current_pass = None
        twin.cache = None
        return twin

    def _collate(self):
        """Returns the collate function for workers about to start, with new shared memory if the system provides it."""
        if self.num_workers == 0 or self.batch_bytes == 0 or start_method() != "fork":
            return collate
        try:
            return partial(collate, slots=SharedBatches(self.num_workers, self.prefetch_factor + 1, self.batch_bytes))
        except (OSError, ValueError, OverflowError):  # the system refuses to reserve the memory
            return collate

    def _finished_batches(self, batches):
        """Yields finished batches, prints the cache report after the first pass and explains errors of workers."""
        try:
            for batch in batches:
                yield batch.finish() if isinstance(batch, ByteBatch) else batch
            self.passes += 1
            if self.passes == 1 and self.cache is not None:
                report = self.cache.report([item.impath for item in self.dataset.data_source])
                if report:
                    print(report)
        except RuntimeError as error:
            reason = str(error).strip().splitlines()[-1]
            if "signal: Terminated" in reason:
                time.sleep(1)  # the signal goes to all processes of a job: give it time to end this one first
            if any(word in reason for word in ("killed by signal", "exited unexpectedly", "</torch_")):
                self._iterator = None  # the next pass starts new processes
                raise self._worker_error(f"they ran out of memory ({reason})") from error
            raise
        finally:
            self.current_pass = None

    def _worker_error(self, reason: str) -> ValueError:
        return ValueError(
            f"Worker processes failed (DATALOADER.NUM_WORKERS {self.batch_sampler.num_workers}): {reason}; enlarge the "
            "shared memory /dev/shm (Docker: --shm-size), or set DATALOADER.NUM_WORKERS 0"
        )


class SeededBatches(BatchSampler):
    """Batches of indices; the first batch of each worker carries the seed of the pass.

    Torch's loader starts new workers with a new seed for every pass. Persistent workers would continue with the random
    numbers of the last pass, so the first batch that each receives makes it seed itself as a new worker would.

    Example: 5 images, batch_size 1, 2 workers. Torch sends batch i to worker i % 2:

        batch     [0]    [1]    [2]    [3]    [4]
        worker    0      1      0      1      0
        seed      17     17     None   None   None

    If fewer processes are started than `num_workers`, each batch also carries the stream of random numbers that it
    continues: that of the worker it would be sent to.
    """

    def __init__(self, sampler, batch_size: int, drop_last: bool, num_workers: int, processes: int):
        super().__init__(sampler, batch_size, drop_last)
        self.num_workers = num_workers
        self.has_streams = processes < num_workers
        self.seed = None  # of the pass; None: the workers are new, torch seeds them
        self.every = 0, 1  # first batch that is given, and step to the next
        self.rows_of = None  # number of images of a batch -> slice; see `Loader.share_rows`

    def __iter__(self):
        rank, size = self.every
        for number, indices in enumerate(itertools.islice(super().__iter__(), rank, None, size)):
            batch = Batch(indices)
            batch.seed = self.seed if number < self.num_workers else None
            batch.stream = number % self.num_workers if self.has_streams else None
            batch.rows = self.rows_of and self.rows_of(len(batch))
            yield batch


class Batch(list):
    """The indices of a batch. Iterating over them in a worker process first seeds its random generators.

    Example: worker 1 receives Batch([1]) with seed 17. Its fetcher calls dataset.__getitems__(batch), which iterates
    over the batch, so random and torch are seeded with 17 + 1 and NumPy with a state from (17, 1) before the image is
    augmented. With seed None nothing is seeded. A batch with a stream first switches to that stream.
    """

    seed = None
    stream = None
    rows: slice | None = None  # what is loaded of the batch; None: all

    def __iter__(self):
        worker = get_worker_info()
        if worker is not None and self.stream is not None:
            switch_stream(self.seed, self.stream)
        elif worker is not None and self.seed is not None:
            seed_stream(self.seed, worker.id)
        return super().__iter__()


def start_method() -> str | None:
    """Returns how worker processes start: "fork" on Linux unless set otherwise, which is fast and shares memory."""
    chosen = multiprocessing.get_start_method(allow_none=True)
    return "fork" if chosen is None and sys.platform == "linux" else chosen

"""Random numbers of augmentations that depend on DATALOADER.NUM_WORKERS, not on how many processes are started.

Torch's loader sends batch i to worker i % NUM_WORKERS, and each worker has its own random numbers. Fewer processes than
that therefore take several such streams each, and switch between them.

Example: NUM_WORKERS 4 on two cores. Batches 0 and 4 continue one stream, as if worker 0 of four had made both:

    batch     0  1  2  3  4  5
    stream    0  1  2  3  0  1
    process   0  1  0  1  0  1
"""

import random

import numpy as np
import torch
from torch.utils.data import get_worker_info
from torch.utils.data._utils.worker import _generate_state

from runtime.machine import n_cores

_said = set()  # numbers of workers that were reduced, each reported once per process
_states = {}  # stream -> states of the generators; of this worker process
_current = None  # the stream whose numbers the generators give now


def n_processes(num_workers: int) -> int:
    """Returns how many processes to start for `num_workers` streams: its largest divisor up to the number of cores.

    A divisor, because torch gives batch i to process i % n: all batches of a stream must be in one process.
    """
    cores = n_cores()
    n = next((n for n in range(min(num_workers, cores), 0, -1) if num_workers % n == 0), num_workers)
    if n < num_workers and num_workers not in _said:
        _said.add(num_workers)
        print(
            f"DATALOADER.NUM_WORKERS {num_workers}: starting {n} worker process{'es' if n > 1 else ''}, as {cores} "
            f"core{'s are' if cores > 1 else ' is'} available; the images are those of {num_workers} workers"
        )
    return n


def seed_stream(seed: int, stream: int) -> None:
    """Seeds the generators as torch seeds worker `stream` for a pass with `seed`."""
    random.seed(seed + stream)
    torch.manual_seed(seed + stream)
    np.random.seed(_generate_state(seed, stream))


def switch_stream(seed: int | None, stream: int) -> None:
    """Makes the generators of this worker process continue `stream`; starts it with `seed` unless that is None."""
    global _current
    if _current is not None:
        _states[_current] = random.getstate(), np.random.get_state(), torch.get_rng_state()
    _current = stream
    if seed is None and stream not in _states:  # the first pass of new workers: torch has seeded only their own stream
        worker = get_worker_info()
        seed = worker.seed - worker.id
    if seed is not None:
        seed_stream(seed, stream)
        return
    python, numpy, torch_state = _states[stream]
    random.setstate(python)
    np.random.set_state(numpy)
    torch.set_rng_state(torch_state)

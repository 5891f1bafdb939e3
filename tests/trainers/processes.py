"""Runs a part of a test in several processes of one run, as under torchrun, with the backend gloo on the CPU."""

import datetime
import os
import time

import torch
import torch.distributed as dist

from .crash import fork, join


def start(n: int, work, folder, run=0) -> list[int]:
    """Starts `work()` in n forked processes that are connected. Returns their pids. Logs are `folder`/log-0, ...

    What `work` returns is saved for `results`. `run` tells several starts with one folder apart.
    """

    def child(rank: int):
        os.environ["OMP_NUM_THREADS"] = "1"
        store = f"file://{folder}/store-{run}"
        dist.init_process_group("gloo", store, datetime.timedelta(seconds=60), world_size=n, rank=rank)
        torch.save(work(), folder / f"result-{rank}")
        dist.destroy_process_group()

    return [fork(lambda rank=rank: child(rank), folder / f"log-{rank}") for rank in range(n)]


def results(pids: list[int], folder, seconds: float = 60) -> list:
    """Waits for processes and returns what `work` returned in each. Fails with its log if one failed."""
    for rank, pid in enumerate(pids):
        code = join(pid, seconds)
        assert code == 0, (folder / f"log-{rank}").read_text()[-3000:]
    return [torch.load(folder / f"result-{rank}", weights_only=False) for rank in range(len(pids))]


def in_processes(n: int, work, folder) -> list:
    """Returns the values of `work()` in n processes of one run."""
    return results(start(n, work, folder, run=time.monotonic_ns()), folder)

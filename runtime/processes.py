"""One run on several processes that `torchrun --nproc-per-node N train.py ...` starts: one per GPU, or N on the CPU.

The first process, 0, prints and writes. The others are silent, unless their error is not one of the first, too.
"""

from __future__ import annotations

import contextlib
import datetime
import os
import select
import signal
import sys
import threading
import time

from .user_errors import stop_code

VARIABLES = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")  # of torchrun
STOP_SIGNALS = (signal.SIGINT, signal.SIGTERM)
GRACE = 15.0  # seconds that a stop signal has; torchrun kills after 30
HEAD_START = 3.0  # seconds; torchrun ends the others within one after the first has failed
NO_ANSWER = datetime.timedelta(days=1)  # a process that ends is noticed at once, a slow one may be waited for


def started_by_torchrun() -> bool:
    return all(name in os.environ for name in VARIABLES)


def number(variable: str) -> int:
    return int(os.environ[variable])


def connect(use_cuda: bool) -> None:
    """Connects this process with the others of its run, if torchrun has started it: NCCL on GPUs, gloo on the CPU.

    Raises:
        ValueError: there are fewer GPUs than processes on this machine.
    """
    if not started_by_torchrun():
        return
    import torch
    import torch.distributed as dist

    backend = "gloo"
    if use_cuda and torch.cuda.is_available():
        n_gpus, n_processes = torch.cuda.device_count(), number("LOCAL_WORLD_SIZE")
        if n_gpus < n_processes:
            raise ValueError(
                f"torchrun --nproc-per-node {n_processes} needs as many GPUs, one per process, but there are {n_gpus}: "
                f"start {n_gpus}, or run on the CPU with USE_CUDA False"
            )
        torch.cuda.set_device(number("LOCAL_RANK"))
        backend = "cpu:gloo,cuda:nccl"
    dist.init_process_group(backend, timeout=NO_ANSWER)


def note_other_gpus() -> None:
    """Prints how all GPUs are used, if this process uses one of several."""
    import torch

    n_gpus = torch.cuda.device_count()
    if n_gpus > 1 and not started_by_torchrun():
        print(
            f"One of {n_gpus} GPUs is used. To use all for this run: torchrun --nproc-per-node {n_gpus} train.py ... "
            "(CUDA_VISIBLE_DEVICES chooses others)"
        )


def run(program) -> int:
    """Returns the exit code of `program()`, in a process of a run on several, or in the only one."""
    if not started_by_torchrun() or number("WORLD_SIZE") == 1:
        return program()
    watch()
    try:
        code = program() if number("RANK") == 0 else run_silently(program)
        if code:
            with contextlib.suppress(OSError, ValueError):
                sys.stdout.flush()
                sys.stderr.flush()
    except KeyboardInterrupt as stop:  # torchrun stops the others as soon as one has failed
        code = stop_code(stop)
    if code:
        os._exit(code)  # NCCL would wait for the other processes
    import torch.distributed as dist

    if dist.is_initialized():
        dist.destroy_process_group()
    return 0


class Tail:
    """A stream that keeps the last text that is written to it."""

    LENGTH = 20_000

    def __init__(self):
        self.text = ""

    def write(self, text: str) -> int:
        self.text = (self.text + text)[-self.LENGTH :]
        return len(text)

    def flush(self) -> None: ...

    def isatty(self) -> bool:
        return False


def run_silently(program) -> int:
    """Returns the exit code of `program()`. Its errors are printed if the first process has not failed as well."""
    errors = Tail()
    with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
        with contextlib.redirect_stderr(errors):
            code = program()
    if code == 1:
        time.sleep(HEAD_START)  # if the first process has failed with the same error, this one is stopped here
        sys.stderr.write(errors.text)
    return code


def watch() -> None:
    """Ends this process if torchrun is killed, or if a stop signal has no effect: Python waits for a GPU or for others.

    A thread gets the numbers of signals from Python's C code, which does not wait.
    """
    if not hasattr(os, "fork"):
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reader, os.getppid()), daemon=True).start()


def _watch(reader: int, parent: int) -> None:
    stopped_at = None
    while stopped_at is None or time.monotonic() < stopped_at + GRACE:
        if select.select([reader], [], [], 1.0)[0] and os.read(reader, 1)[0] in STOP_SIGNALS:
            stopped_at = stopped_at or time.monotonic()
        if stopped_at is None and os.getppid() != parent:
            os.kill(os.getpid(), signal.SIGTERM)
    os._exit(128 + signal.SIGTERM)

"""Processor, memory, GPUs, and free disk space."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from runtime.machine import cuda_text, free_memory, n_cores

from .findings import ERROR, NOTE, Finding

GB = 1e9
LITTLE_MEMORY = 4 * GB  # a step of a ViT-B/16 takes about 4 GB on the CPU (benchmarks/README.md)
LITTLE_DISK = 2 * GB  # weights of a CLIP, image features, a small dataset
NO_DISK = 0.1 * GB  # less than the files of a run and their temporary copies
SHARED = Path("/dev/shm")  # in which the processes that load images hand over batches
LITTLE_SHARED = 0.25 * GB
CACHES = ("~/.cache/clipfit", "~/.cache/clip")


def processor() -> Iterator[Finding]:
    yield Finding(f"{n_cores()} of {os.cpu_count()} CPU cores may be used")
    load = os.getloadavg()[0] if hasattr(os, "getloadavg") else 0.0
    if load > os.cpu_count():
        yield Finding(f"the cores are busy (load {load:.1f}): the times below are longer than usual", NOTE)
    from trainers.common.cpu_products import processor

    yield Finding(f"CPU: {processor()}")


def memory() -> Iterator[Finding]:
    free = free_memory()
    if free == float("inf"):
        yield Finding("memory: unknown on this system", NOTE)
        return
    little = free < LITTLE_MEMORY
    remedy = "end other programs, or set a smaller DATALOADER.TRAIN_X.BATCH_SIZE for large backbones" if little else ""
    yield Finding(f"memory: {free / GB:.1f} GB free for this process", NOTE if little else "ok", remedy)


def gpus() -> Iterator[Finding]:
    """Names the GPUs, and the device and precision that a run selects."""
    import torch

    from trainers.common.models.loading import resolve_precision

    hidden = os.environ.get("CUDA_VISIBLE_DEVICES") in ("", "-1")
    found = torch.cuda.device_count()
    if not found and not hidden and (shutil.which("nvidia-smi") or Path("/proc/driver/nvidia").exists()):
        remedy = "nvidia-smi shows driver and GPUs; install a torch for this driver (https://pytorch.org)"
        yield Finding(f"{cuda_text()}, but this machine has an NVIDIA driver", NOTE, remedy)
    else:
        yield Finding(f"{cuda_text()}{' (CUDA_VISIBLE_DEVICES hides all)' if hidden else ''}")
    for index in range(found):
        free, total = torch.cuda.mem_get_info(index)
        yield Finding(f"GPU {index}: {torch.cuda.get_device_name(index)}, {free / GB:.1f} of {total / GB:.1f} GB free")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    precision = resolve_precision("auto", device)
    yield Finding(f"a run uses the {'GPU' if device.type == 'cuda' else 'CPU'}, PREC auto is {precision}")


def disk(output: str) -> Iterator[Finding]:
    """Checks the output folder of runs, the caches, and shared memory."""
    yield from space(output, "output folder", needed=True)
    for cache in CACHES:
        yield from space(os.path.expanduser(cache), "cache")
    if SHARED.is_dir():
        free = shutil.disk_usage(SHARED).free
        little = free < LITTLE_SHARED
        remedy = "docker run --shm-size=4g, or DATALOADER.NUM_WORKERS 0" if little else ""
        yield Finding(f"shared memory {SHARED}: {free / GB:.1f} GB free", NOTE if little else "ok", remedy)


def space(folder: str, name: str, needed: bool = False) -> Iterator[Finding]:
    """Checks a folder that exists or is created by a run. `needed`: without it, no run can start."""
    existing = os.path.abspath(folder)
    while not os.path.lexists(existing):
        existing = os.path.dirname(existing)
    if not os.path.isdir(existing):
        yield Finding(f"{name} {folder}: {existing} is a file", ERROR if needed else NOTE, "move or rename the file")
        return
    free = shutil.disk_usage(existing).free
    text = f"{name} {folder}: {free / GB:.1f} GB free"
    if not os.access(existing, os.W_OK | os.X_OK):
        remedy = "give another --output" if needed else f"chmod u+w {existing}; without it, runs start slower"
        yield Finding(f"{text}, not writable", ERROR if needed else NOTE, remedy)
    elif free < LITTLE_DISK:
        yield Finding(text, ERROR if needed and free < NO_DISK else NOTE, "free up disk space")
    else:
        yield Finding(text)

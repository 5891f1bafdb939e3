"""What this machine has for a run: CPU cores, free memory, and the CUDA of PyTorch."""

import os
from pathlib import Path


def n_cores() -> int:
    """Returns the number of cores that this process may use: its share, if torchrun has started several here."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, cores // int(os.environ.get("LOCAL_WORLD_SIZE") or 1))


def cuda_text() -> str:
    """Returns what PyTorch is built for and whether it finds a GPU: "torch is built for CUDA 13.0, no GPU found"."""
    import torch

    if torch.version.cuda:
        built = f"CUDA {torch.version.cuda} and cuDNN {torch.backends.cudnn.version()}"
    elif torch.version.hip:
        built = f"ROCm {torch.version.hip}"
    else:
        return "torch is built for the CPU only"
    number = torch.cuda.device_count()
    return f"torch is built for {built}; {number or 'no'} GPU{'s' if number > 1 else ''} found"


def free_memory(proc: Path = Path("/proc"), groups: Path = Path("/sys/fs/cgroup")) -> float:
    """Returns the free bytes of the machine or of this process's control group (container, cluster job), if fewer."""
    free = [float("inf")]
    try:
        for line in (proc / "meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                free.append(1024 * int(line.split()[1]))
        for line in (proc / "self" / "cgroup").read_text().splitlines():
            _, controllers, group = line.split(":", 2)
            if controllers in ("", "memory"):
                free += _free_in_groups(groups / controllers, group, v2=controllers == "")
    except (OSError, ValueError):  # not Linux, or not readable
        pass
    return max(min(free), 0)


def _free_in_groups(root: Path, group: str, v2: bool) -> list[int]:
    """Returns the free bytes of a control group and of its parents. Cached files count as free."""
    if v2:
        limit, usage, cached_files = "memory.max", "memory.current", "inactive_file"
    else:
        limit, usage, cached_files = "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"
    free = []
    inner = root / group.strip("/")
    for folder in (inner, *inner.parents):
        try:  # int("max") fails for a group without a limit
            unused = int((folder / limit).read_text()) - int((folder / usage).read_text())
            stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
            free.append(unused + int(stat[cached_files]))
        except (OSError, ValueError, KeyError):
            continue
    return free

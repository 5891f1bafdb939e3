"""With what a run was made: revision of the code, images, time and memory."""

from __future__ import annotations

import hashlib
import resource
import subprocess
import sys
import time
from pathlib import Path


def peak_memory(device) -> float:
    """In MB: of CUDA's allocator, else of the process."""
    if device.type == "cuda":
        import torch

        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)


def now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")


def data_hash(items) -> str | None:
    """16 hex digits over (file name within its folder, label, class name) of a split's images, in order."""
    if not items:
        return None
    digest = hashlib.sha256()
    for item in items:
        place = "/".join(Path(item.impath).parts[-2:])
        digest.update(f"{place}\t{item.label}\t{item.classname}\n".encode())
    return digest.hexdigest()[:16]


def git_revision() -> str | None:
    """Commit of the code, with "+" if it was changed since; None outside a git checkout."""
    root = Path(__file__).resolve().parent
    try:
        run = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        return subprocess.run(run, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None

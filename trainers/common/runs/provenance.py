"""Provenance of a run for its record: git revision, hash of the images, time and memory."""

from __future__ import annotations

import functools
import hashlib
import subprocess
import sys
import time
from pathlib import Path

REVISION = "REVISION"  # written by setup.py


def peak_memory(device) -> int | None:
    """Returns the peak memory in MB: of the CUDA allocator, or of the process on the CPU; None there on Windows."""
    if device.type == "cuda":
        import torch

        return round(torch.cuda.max_memory_allocated() / 2**20)
    try:
        import resource
    except ImportError:  # Windows
        return None
    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10))


def now() -> str:
    """Returns the time in UTC: "2026-11-26T19:47:59Z"."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())


def data_hash(items) -> str | None:
    """Returns a hash (16 hex digits) of the names of the images of a split, in order; None for an empty split.

    Hashes folder and file name, label and class name: "cats/001.jpg", 0, "cat". `image_hashes` hashes the content.
    """
    if not items:
        return None
    digest = hashlib.sha256()
    for item in items:
        file = "/".join(Path(item.impath).parts[-2:])
        digest.update(f"{file}\t{item.label}\t{item.classname}\n".encode())
    return digest.hexdigest()[:16]


@functools.lru_cache(maxsize=None)
def git_revision() -> str | None:
    """Returns the commit of the code, with "+" if there are uncommitted changes; None outside a git checkout.

    It is read once per process, and with the modules in a process from which runs are forked. An installed package has
    its commit in a file, as its folder may be inside a checkout of other code.
    """
    folder = Path(__file__).resolve().parent
    noted = folder.parents[2] / REVISION
    if noted.is_file():
        return noted.read_text(encoding="utf-8").strip() or None
    try:
        command = ["git", "-C", str(folder), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        return subprocess.run(command, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None

"""Runs parts of a test in forked processes that may be killed. A fork takes milliseconds, importing torch seconds."""

import ctypes
import os
import resource
import signal
import sys
import threading
import time
import traceback

from tqdm import tqdm

from trainers.common.runs import checkpoint_file
from trainers.common.runs.digest import digest


def fork(work, log) -> int:
    """Runs `work()` in a child process and returns its pid. Its output goes to the file `log`.

    The exit code is the int that `work` returns, or 0.
    """
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = (
            open(number, "w", buffering=1, closefd=False)
            for number in (1, 2)  # replaces pytest's streams
        )
        signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell ignores it in what it runs in the background
        tqdm.set_lock(threading.RLock())  # tqdm's own lock is shared by processes: a child killed with it blocks all
        result = work()
        code = result if isinstance(result, int) else 0
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(code)


def join(child: int, seconds: float = 60) -> int:
    """Waits for the child. Returns its exit code, or minus the signal that ended it. Kills it after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise TimeoutError(f"the child ran for more than {seconds} s")


def content(path) -> str:
    """Digest of a checkpoint without its training time."""
    state = checkpoint_file.read(str(path))
    del state["train_seconds"]
    return digest(state)


def flip_a_bit(data: bytes, rng) -> bytes:
    """Returns `data` with one random bit changed. `rng` is a `random.Random`."""
    at = rng.randrange(len(data))
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def small_disk(folder, kilobytes: int, mount: bool = True):
    """In a forked child: limits the free space in `folder` to about `kilobytes`. Returns a function that frees space.

    If `mount` is true and root may mount, mounts a private file system that is removed with the child. Otherwise it
    limits the size of each file to `kilobytes`, and to at most half of a checkpoint.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    new_namespace, private, remount = 0x20000, 0x4000 | 0x40000, 32
    if (
        mount
        and hasattr(libc, "unshare")
        and libc.unshare(new_namespace) == 0
        and libc.mount(b"none", b"/", None, private, None) == 0
        and libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", 0, f"size={max(4, kilobytes)}k".encode()) == 0
    ):
        return lambda: libc.mount(b"tmpfs", str(folder).encode(), b"tmpfs", remount, b"size=100m")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (min(kilobytes, 20) * 1024, hard))
    return lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))

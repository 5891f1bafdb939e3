"""Pieces of a test in forked processes that may be killed: a fork takes milliseconds, a start with torch seconds."""

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
    """Start `work()` in a child whose output goes to the file `log`; its exit code is the number work returns, or 0."""
    child = os.fork()
    if child:
        return child
    code = 1
    try:
        handle = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(handle, 1)
        os.dup2(handle, 2)
        sys.stdout, sys.stderr = (open(number, "w", buffering=1) for number in (1, 2))  # pytest has put its own there
        tqdm.set_lock(threading.RLock())  # its own is shared between processes: killed with it, nobody could go on
        done = work()
        code = done if isinstance(done, int) else 0
    except BaseException:
        traceback.print_exc(file=sys.stderr)
    finally:
        os._exit(code)


def join(child: int, seconds: float = 60) -> int:
    """The child's exit code, or minus the signal that ended it; it is killed after `seconds`."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise TimeoutError(f"a child ran for more than {seconds} s")


def content(path) -> str:
    """Digest of all that a checkpoint holds but for the time it took."""
    state = checkpoint_file.read(str(path))
    del state["train_seconds"]
    return digest(state)


def small_disk(folder, kilobytes: int, mount: bool = True):
    """In a forked child: leaves about so much room for files in `folder`. Returns a function that makes room.

    Where root may mount (and `mount` is true), it is a file system of the child's own, which ends with it; elsewhere
    no file may grow beyond that, and beyond half of a checkpoint.
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

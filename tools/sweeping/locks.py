"""Locks of run directories: one job at a time runs in a directory, also if its sweep was killed."""

import fcntl
import sys
from pathlib import Path

LOCK = ".sweep.lock"


def lock_folder(folder: Path):
    """Locks a run directory. Returns the open lock file, or None if another process holds the lock.

    The job inherits the lock file. The operating system releases the lock when all processes that hold it have ended.
    So a job that outlives a killed sweep keeps the next sweep out of its directory. Locks are not inherited on NFS;
    there, train.py's own lock protects the directory.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = open(folder / LOCK, "a")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    except OSError as error:
        print(f"Cannot lock {file.name} ({error.strerror}): run only one sweep at a time here", file=sys.stderr)
    return file


def is_running(folder: Path, lock_held: bool = False) -> bool:
    """Whether a process has locked a run directory: another sweep, or train.py itself.

    Args:
        folder: The run directory.
        lock_held: Whether this process holds the sweep's lock, which is then not tested.
    """
    from trainers.common.runs import files

    swept = not lock_held and is_locked(folder / LOCK, fcntl.flock)
    return swept or is_locked(folder / files.LOCK, fcntl.lockf)


def is_locked(path: Path, lock) -> bool:
    try:
        with open(path) as file:
            lock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except (BlockingIOError, PermissionError):
        return True
    except OSError:  # no such file, or a file system without locks
        return False
    return False

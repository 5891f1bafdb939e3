"""Atomic writing of files, and a lock that allows one process per run directory."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import secrets
import socket
import time

LOCK = ".lock"
TEMPORARY = re.compile(r".+\.[0-9a-f]{8}\.tmp")  # names of files that are being written
DISK_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
NOT_WRITABLE = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_atomically(path: str, content: bytes | str) -> None:
    """Writes a file atomically: it has either its old or its new content, even after a kill or a power failure.

    Creates missing folders. A text is written in UTF-8; bytes of file names that are not UTF-8 become escapes, as in
    `printable`.

    Raises:
        OSError: the file cannot be written and keeps its old content. The message is one line with the path and a
            remedy.
    """
    with written_atomically(path) as file:
        file.write(content.encode("utf-8", "backslashreplace") if isinstance(content, str) else content)


@contextlib.contextmanager
def written_atomically(path: str):
    """Gives a binary file, whose content becomes that of `path` at the end of the block; see `write_atomically`."""
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"  # in the same folder: renaming works within a file system only
    with explain_write_error(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise
    sync_folder(os.path.dirname(path) or ".")


def sync_folder(folder: str) -> None:
    """Makes renames in `folder` durable, so that they survive a power failure, if the file system supports it."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def explain_write_error(path: str):
    """Adds `path` and a remedy to any OSError raised in the block, as one line."""
    try:
        yield
    except OSError as error:
        if error.errno in DISK_FULL:
            remedy = "free disk space and run the same command again to resume from the last checkpoint"
        elif error.errno in NOT_WRITABLE:
            remedy = "choose a writable --output-dir"
        elif error.errno == errno.ENOENT:
            remedy = "its folder was removed during the run; run the same command again"
        else:
            remedy = "check the disk"
        raise type(error)(f"cannot write {path} ({error.strerror}): {remedy}") from error


def remove_leftovers(folder: str) -> None:
    """Removes the temporary files of killed processes. The caller must hold the lock of the folder."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if TEMPORARY.fullmatch(name):
            os.remove(os.path.join(folder, name))


def lock(handle: int) -> None:
    """Locks an open file against other processes, until it is closed.

    Raises:
        OSError: another process holds the lock (EACCES or EAGAIN), or the system or file system has no locks.
    """
    try:
        import fcntl
    except ImportError:
        lock_on_windows(handle)
    else:
        fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_on_windows(handle: int) -> None:
    """Locks a byte far behind the content, which others can then still read. Raises as `lock`."""
    try:
        import msvcrt
    except ImportError:
        raise OSError(errno.ENOLCK, "this system has no file locks") from None
    os.lseek(handle, 2**30, os.SEEK_SET)
    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    finally:
        os.lseek(handle, 0, os.SEEK_SET)


class FolderLock:
    """Context manager that locks a run directory against other processes.

    The operating system releases the lock when the process ends, even if it is killed. This is a POSIX lock: unlike a
    BSD lock (as in `filelock`), data loader workers do not inherit it. They may outlive a killed run by seconds.

    Raises:
        BlockingIOError: another process holds the lock; the message names it.
        OSError: the folder is not writable.
    """

    def __init__(self, folder: str):
        self.folder = folder
        self.path = os.path.join(folder, LOCK)

    def __enter__(self):
        with explain_write_error(self.path):
            os.makedirs(self.folder, exist_ok=True)
            self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            lock(self.handle)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                holder = os.read(self.handle, 200).decode(errors="replace").strip()
                os.close(self.handle)
                raise BlockingIOError(
                    f"another run is writing to {self.folder} ({holder}): wait until it ends, stop it, or set another "
                    "--output-dir"
                ) from error
            print(f"Note: cannot lock {self.folder} ({error.strerror}): do not start a second run with this folder")
        holder = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%F %T')}\n"
        with explain_write_error(self.path):
            os.truncate(self.handle, 0)
            os.write(self.handle, holder.encode())
        return self

    def __exit__(self, *args):
        os.close(self.handle)

    def check(self) -> None:
        """Raises FileNotFoundError if the folder was removed or replaced, possibly by another run."""
        try:
            same = os.path.samestat(os.stat(self.path), os.fstat(self.handle))
        except FileNotFoundError:
            same = False
        if not same:
            raise FileNotFoundError(
                f"{self.folder} was removed or replaced during the run, so the run cannot save its files: start it "
                "again"
            )

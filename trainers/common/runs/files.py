"""Files and folders of a run: written whole or not at all, and by one run at a time."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import secrets
import socket
import time

LOCK = ".lock"
TEMPORARY = re.compile(r".+\.[0-9a-f]{8}\.tmp")
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS)


def write_atomically(path: str, content: bytes | str) -> None:
    """Write a file, and the folders above it, so that at any moment its old content is there or the new one.

    That holds when the process is killed, and when the power fails.

    Raises:
        OSError: one line that names the file and the remedy; its old content is still there.
    """
    temporary = f"{path}.{secrets.token_hex(4)}.tmp"  # in the same folder: renaming works within a file system only
    with one_line(path):
        os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
        try:
            with open(temporary, "wb") as file:
                file.write(content.encode() if isinstance(content, str) else content)
                file.flush()
                os.fsync(file.fileno())
            os.replace(temporary, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.remove(temporary)
            raise
    sync_folder(os.path.dirname(path) or ".")


def sync_folder(folder: str) -> None:
    """Make a renaming in `folder` last through a power failure, where the file system can."""
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


@contextlib.contextmanager
def one_line(path: str):
    """Turn the system's refusal to write `path` into an OSError that says what to do about it."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            remedy = "make room and start the same command again, it goes on from the last checkpoint"
        elif error.errno in FORBIDDEN:
            remedy = "choose an --output-dir that you may write to"
        elif error.errno == errno.ENOENT:
            remedy = "its folder has been removed meanwhile"
        else:
            remedy = "is the disk all right?"
        raise type(error)(f"cannot write {path} ({error.strerror}): {remedy}") from error


def remove_leftovers(folder: str) -> None:
    """Remove what killed processes left of unfinished files; only for who holds the folder's lock."""
    for name in os.listdir(folder) if os.path.isdir(folder) else ():
        if TEMPORARY.fullmatch(name):
            os.remove(os.path.join(folder, name))


class FolderLock:
    """Keeps other processes out of a run's folder, as a context manager.

    The system itself gives the lock back when the process ends, however it ends. Being POSIX's and not BSD's kind
    (`filelock`'s), it does not pass to data loader workers, which outlive a killed run by seconds.

    Raises:
        BlockingIOError: another process holds it; says which.
        OSError: the folder cannot be written to.
    """

    def __init__(self, folder: str):
        self.folder, self.path = folder, os.path.join(folder, LOCK)

    def __enter__(self):
        with one_line(self.path):
            os.makedirs(self.folder, exist_ok=True)
            self.handle = os.open(self.path, os.O_RDWR | os.O_CREAT, 0o666)
        try:
            fcntl.lockf(self.handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EAGAIN):
                holder = os.read(self.handle, 200).decode(errors="replace").strip()
                os.close(self.handle)
                raise BlockingIOError(
                    f"another run is writing to {self.folder} ({holder}): wait for its end, stop it, or give "
                    "another --output-dir"
                ) from error
            print(f"Note: {self.folder} cannot be locked ({error.strerror}); let no second run write to it")
        holder = f"process {os.getpid()} on {socket.gethostname()}, since {time.strftime('%F %T')}\n"
        with one_line(self.path):
            os.truncate(self.handle, 0)
            os.write(self.handle, holder.encode())
        return self

    def __exit__(self, *args):
        os.close(self.handle)

    def check(self) -> None:
        """Raise FileNotFoundError if the folder was removed or replaced, so that another run may be in its place."""
        try:
            same = os.path.samestat(os.stat(self.path), os.fstat(self.handle))
        except FileNotFoundError:
            same = False
        if not same:
            raise FileNotFoundError(
                f"{self.folder} was removed or replaced while this run was writing to it: nothing more is saved; "
                "start the run again"
            )

"""Byte strings in memory, by key, that forked processes share."""

import hashlib
import mmap
import os
import threading

import numpy as np

try:
    import fcntl
except ImportError:  # Windows, which cannot fork
    fcntl = None

BYTES_PER_ROW = 2**14  # a table for values of this size on average; smaller ones may fill it before the memory
MIN_ROWS = 2**16
FILE_FROM = 300  # lower file descriptors may be those of a program that a fork becomes, see runtime/fork_server


class SharedStore:
    """Maps keys to byte strings, which take at most `n_bytes` in total. None is removed or replaced.

    Processes that are forked after its creation share it: what one of them puts there, all can get. It is anonymous
    shared memory, not a file in /dev/shm, which is small in containers. The system provides the memory page by page as
    values are stored, and gets it back with the last process. A process may be killed at any time.

    Example: keys are 16 bytes, k1 and k2. The value of k1 has 11 bytes, that of k2 is being stored.

        memory  vvvvvvvvvvv ...
        table   [[k1, k1, 1, 11],       # halves of the key, start + 1, bytes. A key is in the first free row from
                 [k2, k2, 0, 7],        #   row `key % n_rows` on
                 [0, 0, 0, 0]]          # free
        state   [18, 2, 0]              # bytes in use, keys, values that did not fit
    """

    def __init__(self, n_bytes: int):
        """Raises OSError, ValueError or OverflowError if the system refuses to reserve the memory."""
        self.n_bytes = n_bytes
        self.n_rows = max(MIN_ROWS, 2 ** (n_bytes // BYTES_PER_ROW).bit_length())
        self.memory = memoryview(mmap.mmap(-1, n_bytes))
        self.table = np.frombuffer(mmap.mmap(-1, 32 * self.n_rows), np.int64).reshape(-1, 4)
        self.state = np.frombuffer(mmap.mmap(-1, 24), np.int64)
        self.lock = ProcessLock()

    def get(self, key: bytes) -> memoryview | None:
        """Returns the value of a key of 16 bytes, which must not be changed; None if there is none."""
        with self.lock:  # makes visible what another process wrote before it released the lock
            _, start_plus_1, size = self._find(key)
        return self.memory[start_plus_1 - 1 : start_plus_1 - 1 + size] if start_plus_1 > 0 else None

    def put(self, key: bytes, *parts) -> None:
        """Stores a value, the concatenated `parts`, unless it does not fit or the key has been put before.

        The lock is held only to reserve the bytes and to publish the value, not while it is copied. If the process is
        killed in between, the key stays without a value.
        """
        size = sum(len(part) for part in parts)
        with self.lock:
            row, start_plus_1, _ = self._find(key)
            if start_plus_1 >= 0:
                return
            start, n_keys = self.state[:2].tolist()
            if start + size > self.n_bytes or n_keys >= 3 * self.n_rows // 4:
                self.state[2] += 1
                return
            self.state[:2] = start + size, n_keys + 1
            self.table[row] = *halves(key), 0, size
        end = start
        for part in parts:
            self.memory[end : end + len(part)] = part
            end += len(part)
        with self.lock:
            self.table[row, 2] = start + 1

    def _find(self, key: bytes) -> tuple[int, int, int]:
        """Returns the key's row, and its start + 1 and size there; start + 1 is -1 if the row is free."""
        wanted = list(halves(key))
        row = wanted[1] % self.n_rows
        while True:
            *found, start_plus_1, size = self.table[row].tolist()
            if found == wanted:
                return row, start_plus_1, size
            if found == [0, 0]:
                return row, -1, 0
            row = (row + 1) % self.n_rows


def key_of(*parts: str | int | bytes) -> bytes:
    """Returns a key for a SharedStore: 16 bytes of a hash of the parts."""
    return hashlib.blake2b(repr(parts).encode("utf-8", "surrogateescape"), digest_size=16).digest()


def halves(key: bytes) -> tuple[int, int]:
    return int.from_bytes(key[:8], "little", signed=True), int.from_bytes(key[8:], "little", signed=True)


class ProcessLock:
    """A lock between the threads of a process and forked processes. The system releases that of a killed process."""

    def __init__(self):
        self.threads = threading.Lock()
        self.file = None
        if fcntl is not None and hasattr(os, "memfd_create"):  # else no processes are forked, see `start_method`
            self.file = open(_high(os.memfd_create("lock")), "rb+", 0)

    def __enter__(self) -> None:
        self.threads.acquire()
        try:
            if self.file is not None:
                fcntl.lockf(self.file, fcntl.LOCK_EX)
        except BaseException:  # Ctrl-C
            self.threads.release()
            raise

    def __exit__(self, *error) -> None:
        try:
            if self.file is not None:
                fcntl.lockf(self.file, fcntl.LOCK_UN)
        finally:
            self.threads.release()


def _high(file: int) -> int:
    """Moves an open file to a descriptor from FILE_FROM on, unless the limit of open files is lower (ulimit -n)."""
    try:
        high = fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, FILE_FROM)
    except OSError:  # the server of runtime/fork_server needs such descriptors, too, so there are no such programs
        return file
    os.close(file)
    return high

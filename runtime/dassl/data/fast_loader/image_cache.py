"""Decoded images kept in memory from their first use on, so that later epochs decode nothing."""

import mmap
import multiprocessing
import pickle
import threading
import weakref

import numpy as np
from PIL import Image

from dassl.utils import read_image
from dassl.utils.memory import free_memory

from .stored_image import StoredImage, stored

GB = 1e9
_caches = weakref.WeakValueDictionary()  # bound in GB -> cache, for as long as a loader uses it


def image_cache(bound: float) -> "ImageCache | None":
    """The cache of this process for DATALOADER.CACHE_GB `bound`, which all its loaders share; None for 0.

    At most half of the free memory is used. Raises ValueError on a negative bound.
    """
    if bound < 0:
        raise ValueError(f"DATALOADER.CACHE_GB must not be negative, got {bound}")
    cache = _caches.get(bound)
    if cache is None and bound > 0:
        try:
            cache = _caches[bound] = ImageCache(int(min(bound * GB, free_memory() / 2)))
        except (OSError, ValueError, OverflowError) as error:  # the system promises no such memory
            print(f"Images are not kept in memory ({error}): DATALOADER.CACHE_GB {bound:g}")
    return cache


class ImageCache:
    """RGB images by path, full size, of at most `n_bytes` together.

    They lie in anonymous shared memory: worker processes that are forked after `add` inherit it, and an image that one
    of them decodes is there for all. Memory is taken from the system as images come, and given back with the last
    loader. It is not that of /dev/shm, which is small in containers.
    """

    ROWS = 2**22  # images at most; a row is (start + 1, height, width, bytes of info), start + 1 = 0: not stored

    def __init__(self, n_bytes: int):
        self.n_bytes = n_bytes
        self.index = {}  # path -> row
        self.memory = memoryview(mmap.mmap(-1, n_bytes))
        self.rows = np.frombuffer(mmap.mmap(-1, self.ROWS * 32), np.int64).reshape(-1, 4)
        self.state = np.frombuffer(mmap.mmap(-1, 16), np.int64)  # bytes handed out; images that found no room
        self.lock = make_lock()

    def add(self, paths) -> None:
        """Make the images at `paths` known. Processes forked before do not keep them."""
        for path in paths:
            if len(self.index) < self.ROWS:
                self.index.setdefault(path, len(self.index))

    def read(self, path: str) -> Image.Image:
        """The image in a file as RGB, as `read_image` gives it. Raises ImageReadError."""
        row = self.index.get(path)
        if row is None:
            return read_image(path)
        with self.lock:  # what another process wrote before is seen after
            place, height, width, n_info = self.rows[row].tolist()
        if place <= 0:
            image = read_image(path)
            if place == 0:
                self._store(row, image)
            return stored(image)
        start, end = place - 1, place - 1 + 3 * width * height
        return StoredImage(self.memory[start:end], (width, height), pickle.loads(self.memory[end : end + n_info]))

    def _store(self, row: int, image: Image.Image) -> None:
        try:
            info = pickle.dumps(image.info)  # EXIF data, colour profile and the like, which transforms may look at
        except Exception:  # whatever a plug-in has put there; such an image is decoded every time
            return
        size = 3 * image.width * image.height + len(info)
        with self.lock:
            start = int(self.state[0])
            if self.rows[row, 0] != 0:  # another process was faster
                return
            if start + size > self.n_bytes:
                self.state[1] += 1
                return
            self.state[0] += size
            self.rows[row, 0] = -1  # taken: it is read from its file until all of it is here
        self.memory[start : start + size - len(info)] = image.tobytes()
        self.memory[start + size - len(info) : start + size] = info
        with self.lock:
            self.rows[row] = start + 1, image.height, image.width, len(info)

    def report(self, paths) -> str:
        """One line on what is kept of the images at `paths`; "" if none is, and none was refused."""
        rows = [self.index[path] for path in set(paths) if path in self.index]
        kept = self.rows[rows]
        kept = kept[kept[:, 0] > 0]
        line = f"Images kept in memory: {len(kept):,} ({3 * (kept[:, 1] * kept[:, 2]).sum() / 1e6:,.1f} MB)"
        if self.state[1]:
            bound = f"all may take {self.n_bytes / GB:.2f} GB (DATALOADER.CACHE_GB)"
            return f"{line}; others are decoded every time: {bound}"
        return line if len(kept) else ""


def make_lock():
    """A lock between forked processes; where the system has none, it cannot start worker processes either."""
    try:
        return multiprocessing.get_context("fork").Lock()
    except (OSError, ImportError, ValueError):
        return threading.Lock()

"""A cache of decoded images in memory that all loader processes share, so that later epochs decode nothing."""

import mmap
import multiprocessing
import os
import pickle
import threading
import weakref

import numpy as np
from PIL import Image

from dassl.utils import read_image
from runtime.machine import free_memory

from .stored_image import StoredImage, stored

GB = 1e9
_caches = weakref.WeakValueDictionary()  # (limit in GB, exif, border) -> cache, as long as a loader uses it


def image_cache(limit_gb: float, exif: str = "ignore", border: int = 0) -> "ImageCache | None":
    """Returns the cache of this process for DATALOADER.CACHE_GB `limit_gb`, which all its loaders share; None for 0.

    It holds images as `read_image(path, exif, border)` gives them, and takes at most half of the free memory. Raises
    ValueError if the limit is negative.
    """
    if limit_gb < 0:
        raise ValueError(f"DATALOADER.CACHE_GB must be 0 (no cache) or more, got {limit_gb}")
    cache = _caches.get((limit_gb, exif, border))
    if cache is None and limit_gb > 0:
        try:
            here = int(os.environ.get("LOCAL_WORLD_SIZE") or 1)  # processes of this run on this machine
            cache = ImageCache(int(min(limit_gb * GB, free_memory() / 2 / here)), exif, border)
            _caches[limit_gb, exif, border] = cache
        except (OSError, ValueError, OverflowError) as error:  # the system refuses to reserve the memory
            print(
                f"Falling back to decoding every image in every epoch, slower: cannot reserve memory for "
                f"DATALOADER.CACHE_GB {limit_gb:g} ({error})"
            )
    return cache


class ImageCache:
    """Maps paths to full-size RGB images, which take at most `n_bytes` in total.

    The pixels are in anonymous shared memory. Worker processes that are forked after `add` inherit it, so an image
    that one of them decodes is available to all. The system provides memory page by page as images are stored, and
    gets it back with the last loader. The cache does not use /dev/shm, which is small in containers.

    Example: image a.png of 2x1 pixels (height x width) is stored first, with 5 bytes of pickled `info`. b.png is known
    but not stored yet.

        index   {"a.png": 0, "b.png": 1}
        memory  RGBRGB iiiii ...        # 6 bytes of pixels, 5 of info; the next image starts at byte 11
        rows    [[1, 2, 1, 5],          # start + 1, height, width, bytes of info
                 [0, 0, 0, 0]]          # 0: not stored; -1: a process is storing it
        state   [11, 0]                 # bytes in use, number of images that did not fit
    """

    ROWS = 2**22  # largest number of images

    def __init__(self, n_bytes: int, exif: str = "ignore", border: int = 0):
        self.n_bytes = n_bytes
        self.exif = exif
        self.border = border
        self.index = {}  # path -> row
        self.memory = memoryview(mmap.mmap(-1, n_bytes))
        self.rows = np.frombuffer(mmap.mmap(-1, self.ROWS * 32), np.int64).reshape(-1, 4)
        self.state = np.frombuffer(mmap.mmap(-1, 16), np.int64)
        self.lock = make_lock()

    def add(self, paths) -> None:
        """Registers the images at `paths`. Worker processes that were forked before this call do not cache them."""
        for path in paths:
            if len(self.index) < self.ROWS:
                self.index.setdefault(path, len(self.index))

    def read(self, path: str) -> Image.Image:
        """Returns the RGB image of a file, from memory or as `read_image` gives it. Raises ImageReadError."""
        row = self.index.get(path)
        if row is None:
            return read_image(path, self.exif, self.border)
        with self.lock:  # makes visible what another process wrote before it released the lock
            start_plus_1, height, width, n_info = self.rows[row].tolist()
        if start_plus_1 <= 0:
            image = read_image(path, self.exif, self.border)
            if start_plus_1 == 0:
                self._store(row, image)
            return stored(image)
        start = start_plus_1 - 1
        end = start + 3 * width * height
        info = pickle.loads(self.memory[end : end + n_info])
        return StoredImage(self.memory[start:end], (width, height), info)

    def _store(self, row: int, image: Image.Image) -> None:
        """Stores an image, unless it does not fit or another process is storing it.

        The lock is held only to reserve the bytes and to publish the row, not while the pixels are copied:

            row 0: [0, 0, 0, 0]   not stored
            reserve               state[0] 0 -> 11, row 0: [-1, 0, 0, 0]; other processes still read the file
            copy                  memory[0:6] = pixels, memory[6:11] = info
            publish               row 0: [1, 2, 1, 5]; all processes read from memory
        """
        try:
            info = pickle.dumps(image.info)  # EXIF data, colour profile and others, which transforms may read
        except Exception:  # an image plug-in put something there that cannot be pickled: do not cache the image
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
            self.rows[row, 0] = -1
        self.memory[start : start + size - len(info)] = image.tobytes()
        self.memory[start + size - len(info) : start + size] = info
        with self.lock:
            self.rows[row] = start + 1, image.height, image.width, len(info)

    def report(self, paths) -> str:
        """Returns a log line on how many of the images at `paths` are cached; "" if none is cached and all fit."""
        rows = [self.index[path] for path in set(paths) if path in self.index]
        kept = self.rows[rows]
        kept = kept[kept[:, 0] > 0]
        line = f"Images kept in memory: {len(kept):,} ({3 * (kept[:, 1] * kept[:, 2]).sum() / 1e6:,.1f} MB)"
        if self.state[1]:
            limit = f"the cache is limited to {self.n_bytes / GB:.2f} GB (DATALOADER.CACHE_GB)"
            return f"{line}; every epoch decodes the other images again: {limit}"
        return line if len(kept) else ""


def make_lock():
    """Returns a lock that forked processes share; a lock for threads if the system cannot start processes at all."""
    try:
        return multiprocessing.get_context("fork").Lock()
    except (OSError, ImportError, ValueError):
        return threading.Lock()

"""A cache of decoded images in memory that all loader processes share, so that later epochs decode nothing."""

import os
import pickle
import weakref

from PIL import Image

from dassl.utils import read_image
from dassl.utils.memory import free_memory

from .shared_store import SharedStore, key_of
from .stored_image import from_bytes, parts_of, stored

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
    """Keeps full-size RGB images by path, at most `n_bytes` in total.

    Worker processes that are forked after its creation share it, so an image that one of them decodes is available to
    all.
    """

    def __init__(self, n_bytes: int, exif: str = "ignore", border: int = 0):
        self.exif = exif
        self.border = border
        self.store = SharedStore(n_bytes)

    def read(self, path: str) -> Image.Image:
        """Returns the RGB image of a file, from memory or as `read_image` gives it. Raises ImageReadError."""
        key = key_of(path)
        value = self.store.get(key)
        if value is not None:
            return from_bytes(value)
        image = read_image(path, self.exif, self.border)
        try:
            info = pickle.dumps(image.info)  # EXIF data, colour profile and others, which transforms may read
        except Exception:  # an image plug-in put something there that cannot be pickled: do not keep the image
            return stored(image)
        self.store.put(key, *parts_of(image.size, image.tobytes(), info))
        return stored(image)

    def report(self, paths) -> str:
        """Returns a log line on how many of the images at `paths` are kept; "" if none is kept and all fit."""
        values = [self.store.get(key_of(path)) for path in set(paths)]
        sizes = [from_bytes(value).size for value in values if value is not None]
        n_bytes = sum(3 * width * height for width, height in sizes)
        line = f"Images kept in memory: {len(sizes):,} ({n_bytes / 1e6:,.1f} MB)"
        if self.store.state[2]:
            limit = f"the cache is limited to {self.store.n_bytes / GB:.2f} GB (DATALOADER.CACHE_GB)"
            return f"{line}; every epoch decodes the other images again: {limit}"
        return line if sizes else ""

"""Test images that the jobs of a sweep share in memory, so that ten methods and three seeds decode each one once.

What is kept is the image that the test transform makes of a file, before ToTensor: 150 KB for a ViT-B/16.
"""

from __future__ import annotations

import os

from torchvision import transforms as T

from dassl.utils.memory import free_memory

from .byte_batch import as_bytes, split_transform
from .shared_store import SharedStore, key_of
from .stored_image import from_bytes, parts_of

VARIABLE = "CLIPFIT_SHARED_IMAGES_GB"  # limit; 0: none
SHARE = 0.25  # of the free memory, by default
NO_INFO = b"\x80\x04}."  # a pickled {}
_store: SharedStore | None = None  # of the sweep that this process is a job of


def reserve() -> None:
    """Reserves memory that all processes share which are forked from this one. Without memory, nothing is shared.

    Raises:
        ValueError: the environment variable is no number of GB.
    """
    global _store
    n_bytes = limit()
    try:
        _store = SharedStore(n_bytes) if n_bytes else None
    except (OSError, ValueError, OverflowError):  # the system refuses
        _store = None


def limit() -> int:
    """Returns the most bytes that may be shared."""
    text = os.environ.get(VARIABLE, "")
    try:
        gigabytes = float(text) if text else SHARE * free_memory() / 1e9
        if not 0 <= gigabytes < float("inf"):
            raise ValueError
    except ValueError:
        raise ValueError(f"{VARIABLE} must be a number of GB, 0 for none, got {text!r}") from None
    return int(1e9 * gigabytes)


def shared_images(transform, *read_options) -> SharedImages | None:
    """Returns the shared images of a test transform; None if none are shared.

    Args:
        transform: one that `build_transform` has built. Transforms of others may not tell in their `repr` all that
            they depend on.
        read_options: those of `read_image`.
    """
    parts = split_transform(transform)
    return None if _store is None or parts is None else SharedImages(_store, parts[0], read_options)


class SharedImages:
    """The images of one test transform in a SharedStore."""

    def __init__(self, store: SharedStore, transform: T.Compose, read_options: tuple):
        self.store = store
        self.kind = f"{transform} {read_options}"

    def image(self, path: str, make):
        """Returns the transformed image of the file at `path`, from memory or from `make()`.

        An image of a file that has changed since is another one. Only RGB images are kept.
        """
        try:
            file = os.stat(path)
        except OSError:  # explained by `make`
            return make()
        key = key_of(self.kind, os.path.abspath(path), file.st_size, file.st_mtime_ns, file.st_ctime_ns, file.st_ino)
        value = self.store.get(key)
        if value is not None:
            return from_bytes(value)
        image = make()
        pixels = as_bytes(image)
        if pixels is not None:
            self.store.put(key, *parts_of(image.size, pixels.tobytes(), NO_INFO))
        return image

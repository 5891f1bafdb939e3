"""Resizing, mirroring and normalising in compiled loops: several times as fast as Pillow, and exactly what it gives.

`prepare` loads the loops where images are large enough to be worth half a second; otherwise, and without Numba,
everything goes through Pillow and NumPy.
"""

import random

import numpy as np
import PIL
from PIL import Image

SMALLEST = 96  # pixels of the shorter side of INPUT.SIZE


def _never(height, width, new_height, new_width) -> bool:
    return False


def _where_it_saves(height, width, new_height, new_width) -> bool:
    return height > new_height and height - new_height > 2 * (width - new_width)


# Whether Pillow resizes vertically first, which decides what is rounded; found by trying sizes.
ORDERS = {"up to Pillow 12": _never, "Pillow 13": _where_it_saves}

loops = None  # the module pixel_loops, once `prepare` has found it to agree with the installed Pillow
_vertical_first = None  # one of ORDERS
_tried = False


def prepare(size) -> None:
    """Load the loops if images of `size` (height, width) are large; to be called before processes are forked."""
    global loops, _vertical_first, _tried
    if _tried or min(size) < SMALLEST:
        return
    _tried = True
    try:
        from . import pixel_loops

        _vertical_first = next((order for order in ORDERS.values() if _agrees(pixel_loops, order)), None)
        if _vertical_first is None:
            raise ImportError(f"Pillow {PIL.__version__} computes otherwise")
        loops = pixel_loops
    except Exception as error:  # no Numba, one that the other packages do not suit, no room on the disk, ...
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError):
            reason = "Numba is not installed: pip install -r requirements-fast.txt"
        print(f"Falling back to Pillow for resizing images, loading takes 1.3 to 2.4 times as long ({reason})")


def _agrees(module, order) -> bool:
    """Whether `module` gives what Pillow gives for 200 small images of random sizes."""
    rng = random.Random(0)
    for _ in range(200):
        height, width, *size = (rng.randint(1, 60) for _ in range(4))
        pixels = rng.randbytes(3 * height * width)
        image = Image.frombytes("RGB", (width, height), pixels)
        for resample in (Image.BILINEAR, Image.BICUBIC):
            result = image.resize(size[::-1], resample)
            out, flipped = np.empty((2, *size, 3), np.uint8)
            vertical_first = order(height, width, *size)
            module.resize(_flat(pixels), 3 * width, height, width, resample == Image.BICUBIC, vertical_first, out)
            module.mirror(_flat(result.tobytes()), 3 * size[1], flipped)
            if out.tobytes() != result.tobytes() or flipped.tobytes() != result.transpose(0).tobytes():
                return False
    return True


def _flat(buffer) -> np.ndarray:
    """The bytes of a buffer as an array that cannot be written to: always the same type for Numba."""
    flat = np.frombuffer(buffer, np.uint8)
    flat.flags.writeable = False
    return flat


def resized(buffer, stride: int, size: tuple[int, int], new_size: tuple[int, int], resample) -> np.ndarray:
    """What Pillow's resize gives, (new height, new width, 3).

    Sizes are (height, width). `buffer` holds the rows of the image, `stride` bytes from one to the next; `resample` is
    BILINEAR or BICUBIC.
    """
    out = np.empty((*new_size, 3), np.uint8)
    vertical_first = _vertical_first(*size, *new_size)
    loops.resize(_flat(buffer), stride, *size, resample == Image.BICUBIC, vertical_first, out)
    return out


def mirrored(buffer, stride: int, size: tuple[int, int]) -> np.ndarray:
    """The image in `buffer`, as for `resized`, left to right, (height, width, 3)."""
    out = np.empty((*size, 3), np.uint8)
    loops.mirror(_flat(buffer), stride, out)
    return out

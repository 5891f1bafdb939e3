"""Resizes and mirrors images in compiled loops: several times as fast as Pillow, with identical bytes.

Loading the loops takes half a second, so `prepare` does it only if images are large enough. Otherwise, without Numba,
and with a Pillow that gives other bytes (Pillow-SIMD, which is faster still), Pillow and NumPy do the work.
"""

import contextlib
import io
import random
import time

import numpy as np
import PIL
from PIL import Image

SMALLEST = 96  # pixels; the loops are loaded if the shorter side of INPUT.SIZE is at least this long


def _always_horizontal_first(height, width, new_height, new_width) -> bool:
    return False


def _vertical_first_if_cheaper(height, width, new_height, new_width) -> bool:
    return height > new_height and height - new_height > 2 * (width - new_width)


# Whether Pillow resizes vertically before horizontally. The order matters because the result of the first pass is
# rounded to bytes. Pillow does not document it; these rules were found by comparing results for many sizes.
ORDERS = {"up to Pillow 12": _always_horizontal_first, "Pillow 13": _vertical_first_if_cheaper}

loops = None  # the module pixel_loops, if `prepare` found that it agrees with the installed Pillow
_vertical_first = None  # the function of ORDERS that the installed Pillow follows
_tried = False


def prepare(size) -> None:
    """Loads the loops if images of `size` (height, width) are large enough. Call it before forking worker processes."""
    global loops, _vertical_first, _tried
    if _tried or min(size) < SMALLEST:
        return
    _tried = True
    try:
        from . import pixel_loops

        _vertical_first = next((order for order in ORDERS.values() if _agrees(pixel_loops, order)), None)
        if _vertical_first is None:
            by_loops, by_pillow = (1000 * seconds for seconds in seconds_to_resize(pixel_loops))
            print(
                f"Falling back to Pillow {PIL.__version__} for resizing images, which gives other bytes than the "
                f"compiled loops: {by_pillow:.2f} ms per image, with the loops {by_loops:.2f} ms"
            )
            return
        loops = pixel_loops
    except Exception as error:  # Numba is missing or does not fit the other packages, the disk is full, ...
        reason = f"{type(error).__name__}: {error}"
        if isinstance(error, ModuleNotFoundError):
            reason = "Numba is not installed: pip install -r requirements-fast.txt"
        print(f"Falling back to Pillow for resizing images; loading takes 1.3 to 2.4 times as long ({reason})")


def preload() -> None:
    """Loads the loops in a process that is forked for programs with large images. Those report it if that fails."""
    global _tried
    with contextlib.redirect_stdout(io.StringIO()):
        prepare((SMALLEST, SMALLEST))
    _tried = loops is not None


def _agrees(module, order) -> bool:
    """Returns whether `module` gives the same bytes as Pillow for 200 small images of random sizes."""
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


def seconds_to_resize(module) -> tuple[float, float]:
    """Returns the CPU seconds of `module` and of Pillow to resize a crop of 300x310 pixels to 224x224. Takes 10 ms."""
    height, width, size = 310, 300, (224, 224)
    pixels = random.Random(0).randbytes(3 * height * width)
    image = Image.frombytes("RGB", (width, height), pixels)
    source, out = _flat(pixels), np.empty((*size, 3), np.uint8)
    times = []
    for resize in (
        lambda: module.resize(source, 3 * width, height, width, True, False, out),
        lambda: image.resize(size, Image.BICUBIC),
    ):
        seconds = []
        for _ in range(5):
            started = time.thread_time()
            resize()
            seconds.append(time.thread_time() - started)
        times.append(min(seconds))
    return tuple(times)


def _flat(buffer) -> np.ndarray:
    """Returns a buffer as a flat read-only array, so that Numba compiles for one type only."""
    flat = np.frombuffer(buffer, np.uint8)
    flat.flags.writeable = False
    return flat


def resized(buffer, stride: int, size: tuple[int, int], new_size: tuple[int, int], resample) -> np.ndarray:
    """Resizes an image as Pillow does; returns (new height, new width, 3) uint8.

    Args:
        buffer: the rows of the image.
        stride: bytes from the start of one row to the start of the next.
        size, new_size: (height, width).
        resample: BILINEAR or BICUBIC.
    """
    out = np.empty((*new_size, 3), np.uint8)
    vertical_first = _vertical_first(*size, *new_size)
    loops.resize(_flat(buffer), stride, *size, resample == Image.BICUBIC, vertical_first, out)
    return out


def mirrored(buffer, stride: int, size: tuple[int, int]) -> np.ndarray:
    """Mirrors an image left to right; arguments as in `resized`, returns (height, width, 3) uint8."""
    out = np.empty((*size, 3), np.uint8)
    loops.mirror(_flat(buffer), stride, out)
    return out

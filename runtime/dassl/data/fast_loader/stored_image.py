"""A PIL image that uses pixels in memory without copying them."""

import pickle
import struct

import numpy as np
from PIL import Image

from . import fast_pixels

HEADER = struct.Struct("<II")  # width, height


class StoredImage(Image.Image):
    """An RGB image whose pixels are in `buffer`; its rows start `stride` bytes apart (default: without gaps).

    Crops are views. Resizing and mirroring run in compiled loops on the buffer, if these are loaded. Every other
    operation first converts the image to an ordinary PIL image.
    """

    buffer = None

    def __init__(self, buffer, size: tuple[int, int], info: dict, stride: int | None = None):
        super().__init__()
        self.buffer = memoryview(buffer)
        self.stride = 3 * size[0] if stride is None else stride
        self._size = size
        self._mode = "RGB"
        self.info = info

    @property
    def pixels(self) -> np.ndarray | None:
        """The pixels (H, W, 3), which must not be changed; None after conversion to an ordinary PIL image."""
        if self.buffer is None:
            return None
        return np.ndarray((self.height, self.width, 3), np.uint8, self.buffer, strides=(self.stride, 3, 1))

    def load(self):
        if self.buffer is not None:
            self.im = Image.frombuffer("RGB", self.size, self.buffer, "raw", "RGB", self.stride, 1).im
            self.buffer = None
        return super().load()

    def crop(self, box=None):
        if self.buffer is None or box is None or not all(isinstance(edge, int) for edge in box):
            return super().crop(box)
        left, top, right, bottom = box
        if not (0 <= left < right <= self.width and 0 <= top < bottom <= self.height):
            return super().crop(box)
        view = self.buffer[top * self.stride + 3 * left : (bottom - 1) * self.stride + 3 * right]
        return StoredImage(view, (right - left, bottom - top), self.info.copy(), self.stride)

    def resize(self, size, resample=None, box=None, reducing_gap=None):
        filters = (Image.BILINEAR, Image.BICUBIC)
        narrow = self.height > 100 * self.width  # Pillow resizes such images in the other order
        if not self._can_use_loops() or resample not in filters or box or reducing_gap or min(size) < 1 or narrow:
            return super().resize(size, resample, box, reducing_gap)
        pixels = fast_pixels.resized(self.buffer, self.stride, self.size[::-1], (size[1], size[0]), resample)
        return StoredImage(pixels.reshape(-1), tuple(size), self.info.copy())

    def transpose(self, method):
        if not self._can_use_loops() or method != Image.FLIP_LEFT_RIGHT:
            return super().transpose(method)
        pixels = fast_pixels.mirrored(self.buffer, self.stride, self.size[::-1])
        return StoredImage(pixels.reshape(-1), self.size, self.info.copy())

    def _can_use_loops(self) -> bool:
        return self.buffer is not None and fast_pixels.loops is not None


def stored(image: Image.Image) -> Image.Image:
    """Converts an RGB image to a StoredImage if the compiled loops, which make its transforms faster, are loaded."""
    if fast_pixels.loops is None or isinstance(image, StoredImage):
        return image
    return StoredImage(image.tobytes(), image.size, image.info)


def parts_of(size: tuple[int, int], pixels, info: bytes) -> tuple:
    """Returns an image as parts of a byte string: its size, the pixels (H, W, 3) uint8, and its pickled `info`."""
    return HEADER.pack(*size), pixels, info


def from_bytes(value: memoryview) -> StoredImage:
    """Returns the image of a byte string of such parts, without copying the pixels."""
    size = HEADER.unpack_from(value)
    end = HEADER.size + 3 * size[0] * size[1]
    return StoredImage(value[HEADER.size : end], size, pickle.loads(value[end:]))

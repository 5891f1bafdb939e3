"""Scales pixels deeper than 8 bits; `images` states the rules."""

import numpy as np
from PIL import Image

BITS, PHOTOMETRIC = 258, 262  # tags of a TIFF
WHITE_IS_ZERO = 0


class UnknownScaleError(ValueError):
    """An image whose values have no known range, so that it is not clear what is white."""

    remedy = "save it with 8 or 16 bits, or as floats from 0 to 1"

    def __init__(self, kind: str, low, high):
        super().__init__(f"{kind} with values from {low:g} to {high:g}, whose scale is unknown")


def grey_bytes(image: Image.Image) -> np.ndarray:
    """Scales a grey image deeper than 8 bits to (H, W) uint8. Raises UnknownScaleError."""
    pixels = np.asarray(image)
    if image.mode.startswith("I;16"):
        tags = getattr(image, "tag_v2", {})
        bits = int(np.max(tags.get(BITS, 16)))  # Pillow opens 12 bits as 16, too, without scaling
        grey = scale(pixels, 2**bits - 1)
        return 255 - grey if tags.get(PHOTOMETRIC) == WHITE_IS_ZERO else grey
    if image.mode == "I" and image.format in ("PNG", "PPM"):  # these have at most 16 bits
        return scale(pixels, 65535)
    return as_bytes(pixels, f"mode {image.mode}")


def as_bytes(pixels: np.ndarray, kind: str = "") -> np.ndarray:
    """Returns an array of uint8, uint16 or floats as uint8. Raises UnknownScaleError for other types and ranges."""
    if pixels.dtype == np.uint8:
        return pixels
    if pixels.dtype == np.uint16:
        return scale(pixels, 65535)
    low, high = (pixels.min(), pixels.max()) if pixels.size else (0, 0)
    if pixels.dtype.kind == "f" and low >= 0 and high <= 1:  # false for nan
        return np.floor(pixels * np.float64(255) + 0.5).astype(np.uint8)
    raise UnknownScaleError(kind or str(pixels.dtype), low, high)


def scale(pixels: np.ndarray, maximum: int) -> np.ndarray:
    """Scales integers from 0 to `maximum` to uint8: 255 v / maximum, rounded."""
    values = np.clip(pixels, 0, maximum).astype(np.uint32)
    return ((values * 255 + maximum // 2) // maximum).astype(np.uint8)

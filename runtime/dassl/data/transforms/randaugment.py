"""RandAugment (https://arxiv.org/abs/1909.13719) and two variants as in Dassl.

Torchvision's RandAugment has other operations and ranges, and uses torch's generator instead of Python's.
"""

import random

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

CUTOUT_COLOR = (125, 123, 114)


def _signed(value: float) -> float:
    return -value if random.random() > 0.5 else value


def _affine(image, *matrix):
    return image.transform(image.size, Image.Transform.AFFINE, matrix)


def shear_x(image, value):
    return _affine(image, 1, _signed(value), 0, 0, 1, 0)


def shear_y(image, value):
    return _affine(image, 1, 0, 0, _signed(value), 1, 0)


def translate_x(image, share):
    return _affine(image, 1, 0, _signed(share) * image.width, 0, 1, 0)


def translate_y(image, share):
    return _affine(image, 1, 0, 0, 0, 1, _signed(share) * image.height)


def translate_x_pixels(image, pixels):
    return _affine(image, 1, 0, _signed(pixels), 0, 1, 0)


def translate_y_pixels(image, pixels):
    return _affine(image, 1, 0, 0, 0, 1, _signed(pixels))


def rotate(image, degrees):
    return image.rotate(_signed(degrees))


def identity(image, _):
    return image


def auto_contrast(image, _):
    return ImageOps.autocontrast(image)


def equalize(image, _):
    return ImageOps.equalize(image)


def invert(image, _):
    return ImageOps.invert(image)


def posterize(image, bits):
    return ImageOps.posterize(image, int(bits))


def solarize(image, threshold):
    return ImageOps.solarize(image, threshold)


def solarize_add(image, addition):
    pixels = np.clip(np.asarray(image).astype(int) + addition, 0, 255).astype(np.uint8)
    return ImageOps.solarize(Image.fromarray(pixels), 128)


def color(image, factor):
    return ImageEnhance.Color(image).enhance(factor)


def contrast(image, factor):
    return ImageEnhance.Contrast(image).enhance(factor)


def brightness(image, factor):
    return ImageEnhance.Brightness(image).enhance(factor)


def sharpness(image, factor):
    return ImageEnhance.Sharpness(image).enhance(factor)


def cutout(image, side):
    """Paints a gray square of `side` pixels at a position from NumPy's generator, cut off at the border."""
    width, height = image.size
    center_x = np.random.uniform(width)  # low=width, high=1, as in Dassl
    center_y = np.random.uniform(height)
    left, top = int(max(0, center_x - side / 2)), int(max(0, center_y - side / 2))
    image = image.copy()
    ImageDraw.Draw(image).rectangle((left, top, min(width, left + side), min(height, top + side)), CUTOUT_COLOR)
    return image


# (operation, smallest value, largest value). Keep the order: a random number selects an operation by its index.
RANDAUGMENT = [
    (auto_contrast, 0, 1),
    (equalize, 0, 1),
    (invert, 0, 1),
    (rotate, 0, 30),
    (posterize, 4, 8),
    (solarize, 0, 256),
    (solarize_add, 0, 110),
    (color, 0.1, 1.9),
    (contrast, 0.1, 1.9),
    (brightness, 0.1, 1.9),
    (sharpness, 0.1, 1.9),
    (shear_x, 0.0, 0.3),
    (shear_y, 0.0, 0.3),
    (cutout, 0, 40),
    (translate_x_pixels, 0, 100),
    (translate_y_pixels, 0, 100),
]
_GEOMETRY = [(shear_x, -0.3, 0.3), (shear_y, -0.3, 0.3), (solarize, 0, 256)]
_GEOMETRY += [(translate_x, -0.3, 0.3), (translate_y, -0.3, 0.3)]


def _photometric(low: float, high: float, inverts: bool) -> list:
    inversion = [(invert, 0, 1)] if inverts else []
    return [
        (auto_contrast, 0, 1),
        (brightness, low, high),
        (color, low, high),
        (contrast, low, high),
        (equalize, 0, 1),
        (identity, 0, 1),
        *inversion,
        (posterize, 4, 8),
        (rotate, -30, 30),
        (sharpness, low, high),
    ]


RANDAUGMENT2 = _photometric(0.1, 1.9, inverts=True) + _GEOMETRY
FIXMATCH = _photometric(0.05, 0.95, inverts=False) + _GEOMETRY


class RandAugment:
    """Applies `n` random operations of RANDAUGMENT at magnitude `m` of 30."""

    def __init__(self, n: int = 2, m: float = 10):
        if not 0 <= m <= 30:
            raise ValueError(f"INPUT.RANDAUGMENT_M must be from 0 to 30, got {m}")
        self.n, self.m = n, m

    def __call__(self, image: Image.Image) -> Image.Image:
        for operation, low, high in random.choices(RANDAUGMENT, k=self.n):
            image = operation(image, (self.m / 30) * (high - low) + low)
        return image


class RandAugment2:
    """Applies `n` random operations of RANDAUGMENT2, each with probability `p` and at a random magnitude."""

    def __init__(self, n: int = 2, p: float = 0.6):
        self.n, self.p = n, p

    def __call__(self, image: Image.Image) -> Image.Image:
        for operation, low, high in random.choices(RANDAUGMENT2, k=self.n):
            if random.random() <= self.p:
                image = operation(image, random.random() * (high - low) + low)
        return image


class RandAugmentFixMatch:
    """Applies `n` random operations of FixMatch (https://arxiv.org/abs/2001.07685) at random magnitudes."""

    def __init__(self, n: int = 2):
        self.n = n

    def __call__(self, image: Image.Image) -> Image.Image:
        for operation, low, high in random.choices(FIXMATCH, k=self.n):
            image = operation(image, random.random() * (high - low) + low)
        return image

"""AutoAugment's policies (https://arxiv.org/abs/1805.09501) as Dassl applies them.

Torchvision has the same tables, but its operations fill and round differently and use torch's generator.
"""

import random

import numpy as np
from PIL import Image, ImageEnhance, ImageOps
from torchvision.transforms import AutoAugment, AutoAugmentPolicy

GRAY = (128, 128, 128)

MAGNITUDES = {  # for levels 0 to 9; operations that are not listed have no magnitude
    "shearx": np.linspace(0, 0.3, 10),
    "sheary": np.linspace(0, 0.3, 10),
    "translatex": np.linspace(0, 150 / 331, 10),  # fraction of the width
    "translatey": np.linspace(0, 150 / 331, 10),  # fraction of the height
    "rotate": np.linspace(0, 30, 10),  # degrees
    "color": np.linspace(0, 0.9, 10),
    "contrast": np.linspace(0, 0.9, 10),
    "sharpness": np.linspace(0, 0.9, 10),
    "brightness": np.linspace(0, 0.9, 10),
    "posterize": np.linspace(8, 4, 10).round().astype(int),  # bits
    "solarize": np.linspace(256, 0, 10),  # threshold
}


def _signed(magnitude: float) -> float:
    return magnitude * random.choice([-1, 1])


def _shear_x(image, magnitude, fill):
    matrix = (1, _signed(magnitude), 0, 0, 1, 0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=fill)


def _shear_y(image, magnitude, fill):
    matrix = (1, 0, 0, _signed(magnitude), 1, 0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, Image.Resampling.BICUBIC, fillcolor=fill)


def _translate_x(image, magnitude, fill):
    matrix = (1, 0, _signed(magnitude * image.width), 0, 1, 0)
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=fill)


def _translate_y(image, magnitude, fill):
    matrix = (1, 0, 0, 0, 1, _signed(magnitude * image.height))
    return image.transform(image.size, Image.Transform.AFFINE, matrix, fillcolor=fill)


def _rotate(image, magnitude, fill):
    """Rotates counter-clockwise over gray; ignores `fill`."""
    rotated = image.convert("RGBA").rotate(magnitude)
    background = Image.new("RGBA", rotated.size, (*GRAY, 128))
    return Image.composite(rotated, background, rotated).convert(image.mode)


def _enhance(enhancer):
    return lambda image, magnitude, fill: enhancer(image).enhance(1 + _signed(magnitude))


OPERATIONS = {  # (image, magnitude, fill) -> image
    "shearx": _shear_x,
    "sheary": _shear_y,
    "translatex": _translate_x,
    "translatey": _translate_y,
    "rotate": _rotate,
    "color": _enhance(ImageEnhance.Color),
    "contrast": _enhance(ImageEnhance.Contrast),
    "sharpness": _enhance(ImageEnhance.Sharpness),
    "brightness": _enhance(ImageEnhance.Brightness),
    "posterize": lambda image, magnitude, fill: ImageOps.posterize(image, magnitude),
    "solarize": lambda image, magnitude, fill: ImageOps.solarize(image, magnitude),
    "autocontrast": lambda image, magnitude, fill: ImageOps.autocontrast(image),
    "equalize": lambda image, magnitude, fill: ImageOps.equalize(image),
    "invert": lambda image, magnitude, fill: ImageOps.invert(image),
}


class SubPolicy:
    """Applies two operations, each given as probability, name and level: (0.4, "posterize", 8, 0.6, "rotate", 9)."""

    def __init__(self, p1, operation1, magnitude_idx1, p2, operation2, magnitude_idx2, fillcolor=GRAY):
        self.steps = [(p1, operation1.lower(), magnitude_idx1), (p2, operation2.lower(), magnitude_idx2)]
        self.fillcolor = fillcolor

    def __call__(self, image: Image.Image) -> Image.Image:
        for probability, name, level in self.steps:
            if random.random() < probability:
                magnitude = MAGNITUDES[name][level] if name in MAGNITUDES else None
                image = OPERATIONS[name](image, magnitude, self.fillcolor)
        return image


class _Policy:
    """Applies one of 25 sub-policies per image, chosen with Python's `random`."""

    name: AutoAugmentPolicy

    def __init__(self, fillcolor=GRAY):
        table = AutoAugment(self.name).policies  # ((name, probability, level or None), (the same)) per sub-policy
        self.policies = [
            SubPolicy(p1, name1, level1, p2, name2, level2, fillcolor)
            for (name1, p1, level1), (name2, p2, level2) in table
        ]

    def __call__(self, image: Image.Image) -> Image.Image:
        return self.policies[random.randint(0, len(self.policies) - 1)](image)


class ImageNetPolicy(_Policy):
    name = AutoAugmentPolicy.IMAGENET


class CIFAR10Policy(_Policy):
    name = AutoAugmentPolicy.CIFAR10


class SVHNPolicy(_Policy):
    name = AutoAugmentPolicy.SVHN

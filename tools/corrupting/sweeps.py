"""Sweeps of image quality with levels in the user's units: resolution in pixels, JPEG quality, share of grey."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from PIL import Image

from .weather_and_digital import as_jpeg


def resolution(image, level, rng):
    """Reduces the shorter side to `level` pixels (mean of the area) and enlarges the image again (bicubic)."""
    height, width = image.shape[:2]
    factor = level / min(height, width)
    if factor >= 1:
        return image
    small = (max(1, round(width * factor)), max(1, round(height * factor)))
    return np.asarray(Image.fromarray(image).resize(small, Image.BOX).resize((width, height), Image.BICUBIC))


def jpeg(image, level, rng):
    return as_jpeg(image, level)


def grey(image, level, rng):
    """Mixes the image with its luminance: at 100 % it is grey."""
    luminance = Image.fromarray(image).convert("L").convert("RGB")
    return np.asarray(Image.blend(Image.fromarray(image), luminance, level / 100))


@dataclass(frozen=True)
class Sweep:
    """Attributes:
    levels: the default, from the best image to the worst. For `resolution`, in percent of the side.
    unit: of a level.
    least, most: allowed levels.
    """

    function: Callable
    levels: tuple[int, ...]
    title: str
    unit: str
    least: int
    most: int


SWEEPS = {
    "resolution": Sweep(resolution, (75, 50, 35, 25, 15, 10), "Resolution", "pixels of the shorter side", 1, 10_000),
    "jpeg": Sweep(jpeg, (90, 70, 50, 30, 20, 10, 5), "JPEG compression", "quality", 1, 100),
    "grey": Sweep(grey, (25, 50, 75, 100), "Loss of colour", "% grey", 1, 100),
}


def check_names(names: list[str], levels: list[int]) -> None:
    """Raises ValueError for an unknown sweep, a level that is not allowed, or levels of several sweeps."""
    for name in names:
        if name not in SWEEPS:
            raise ValueError(f"--sweep must be of {', '.join(SWEEPS)}, got {name!r}")
    if levels and len(set(names)) != 1:
        raise ValueError(f"--levels {' '.join(map(str, levels))} needs one --sweep, got {len(set(names))}")
    for level in levels:
        sweep = SWEEPS[names[0]]
        if not sweep.least <= level <= sweep.most:
            raise ValueError(
                f"--levels of --sweep {names[0]} must be from {sweep.least} to {sweep.most} ({sweep.unit}), got {level}"
            )


def levels_of(name: str, given: list[int], side: int) -> list[int]:
    """Returns the levels of a sweep.

    Args:
        given: by the user; []: the default.
        side: of the images, in pixels.

    Raises:
        ValueError: a resolution is not below that of the images.
    """
    if name == "resolution":
        for level in given:
            if level >= side:
                raise ValueError(f"--levels of --sweep resolution must be below INPUT.SIZE, {side} pixels, got {level}")
    if given:
        return list(dict.fromkeys(given))
    if name == "resolution":
        return list(dict.fromkeys(max(1, round(side * percent / 100)) for percent in SWEEPS[name].levels))
    return list(SWEEPS[name].levels)

"""The corruptions and sweeps by name, and how an image is corrupted: seeded per image, on 8-bit pixels."""

import hashlib
import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from . import noise_and_blur, package, sweeps, weather_and_digital

VERSION = 1  # of the formulas; raise it if one gives other pixels, so that no old result is used
COMMON = {  # the fifteen of ImageNet-C by family, in its order
    "noise": ("gaussian_noise", "shot_noise", "impulse_noise"),
    "blur": ("defocus_blur", "glass_blur", "motion_blur", "zoom_blur"),
    "weather": ("snow", "frost", "fog", "brightness"),
    "digital": ("contrast", "elastic_transform", "pixelate", "jpeg_compression"),
}
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")
IMAGENET_C = tuple(name for names in COMMON.values() for name in names)
ALL = (*IMAGENET_C, *EXTRA)
OWN = tuple(name for name in ALL if name not in package.FUNCTIONS)  # need no package
GROUPS = {"common": IMAGENET_C, "extra": EXTRA, "all": ALL, "own": OWN, **COMMON}
CLEAN = "clean"


@dataclass(frozen=True)
class Condition:
    """A way to change all test images.

    Attributes:
        name: of a corruption or a sweep, or CLEAN.
        level: severity of a corruption, 1 to 5; of a sweep its level; 0 if clean.
    """

    name: str
    level: int = 0

    def __str__(self) -> str:
        return self.name if self.name == CLEAN else f"{self.name} {self.level}"


def function_of(name: str) -> Callable:
    """Returns the function (image, level, rng) -> pixels of a corruption or sweep."""
    for module in (noise_and_blur, weather_and_digital):
        if name in ALL and hasattr(module, name):
            return getattr(module, name)
    return package.FUNCTIONS[name] if name in package.FUNCTIONS else sweeps.SWEEPS[name].function


def names_of(words: list[str], computed: bool = True) -> list[str]:
    """Returns the corruptions that names and groups such as "blur" stand for, in the order of ImageNet-C.

    Args:
        computed: whether they are computed; otherwise the images are corrupted already.

    Raises:
        ValueError: a word is unknown, or a corruption needs a package that is not installed.
    """
    chosen = set()
    for word in words:
        if word not in GROUPS and word not in ALL:
            raise ValueError(f"--corruptions must be of {', '.join((*GROUPS, *ALL))}, got {word!r}")
        chosen.update(GROUPS.get(word, (word,)))
    if computed:
        package.require([name for name in ALL if name in chosen])
    return [name for name in ALL if name in chosen]


def check_size(names: list[str], size) -> None:
    """Raises ValueError if images of `size` (height, width) are too small for one of the corruptions."""
    by_package = [name for name in names if name in package.FUNCTIONS]
    if by_package and min(size) < package.SMALLEST:
        raise ValueError(
            f"INPUT.SIZE {tuple(size)}: {' and '.join(by_package)} need at least {package.SMALLEST} pixels per side: "
            "leave them out of --corruptions"
        )


def seed_of(image_key, condition: Condition, seed: int) -> list[int]:
    """Returns the seed of one image in one condition, 8 numbers of 32 bits.

    `image_key` identifies the content of the image's file. Neither the order of the images nor the process matters.
    """
    text = f"{image_key} {condition.name} {condition.level} {seed}"
    return np.frombuffer(hashlib.sha256(text.encode()).digest(), ">u4").tolist()


def corrupt(image: np.ndarray, condition: Condition, image_key, seed: int) -> np.ndarray:
    """Returns an image (H, W, 3) of uint8 in a condition, as uint8. Values are truncated, as in ImageNet-C."""
    if condition.name == CLEAN:
        return image
    rng = np.random.RandomState(seed_of(image_key, condition, seed))  # its numbers stay the same in new NumPys
    pixels = function_of(condition.name)(image, condition.level, rng)
    return np.ascontiguousarray(pixels).astype(np.uint8)


def versions(name: str) -> dict:
    """Returns the versions that the pixels of a condition depend on."""
    packages = ["numpy", "pillow", "scipy"]
    if name in package.FUNCTIONS:
        packages += [package.NAME, "opencv-python", "scikit-image"]
    found = {}
    for each in packages:
        try:
            found[each] = importlib.metadata.version(each)
        except importlib.metadata.PackageNotFoundError:  # OpenCV has several packages
            found[each] = ""
    return {"corruptions": VERSION, **found}

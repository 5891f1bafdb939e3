"""Computes digests of transformed images and of the states of the random generators after them.

    python -m tests.runtime.transform_digests UPSTREAM_DASSL            # of every case
    python -m tests.runtime.transform_digests UPSTREAM_DASSL --stored   # of the cases in transform_digests.json

prints the digests of upstream Dassl. Its transforms are imported under another package name than the bundled ones.
"""

import contextlib
import hashlib
import importlib
import io
import itertools
import json
import random
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import runtime  # noqa: F401  (makes dassl importable)
from dassl.config import get_cfg_default

CHOICES = (
    "random_flip random_resized_crop normalize instance_norm random_crop random_translation center_crop cutout "
    "imagenet_policy cifar10_policy svhn_policy randaugment randaugment_fixmatch randaugment2 gaussian_noise "
    "colorjitter randomgrayscale gaussian_blur"
).split()
# Dassl's operations on integer pixels give the same bytes on every processor, unlike floating-point operations.
STORED = "imagenet_policy cifar10_policy svhn_policy randaugment randaugment_fixmatch randaugment2 cutout".split()
SIZES = [(90, 120), (120, 90), (50, 200), (64, 64)]


def cases() -> dict[str, tuple[tuple[str, ...], int]]:
    """Returns {name: (choices, number of images)}: every choice on many images, every pair, and larger sets."""
    rng = random.Random(0)
    larger = [tuple(rng.sample(CHOICES, rng.randint(3, len(CHOICES)))) for _ in range(40)]
    sets = [((choice,), 200) for choice in CHOICES]
    sets += [(pair, 6) for pair in itertools.combinations(CHOICES, 2)]
    sets += [(choices, 6) for choices in [(), tuple(CHOICES), *larger]]
    return {" ".join(choices): (choices, count) for choices, count in sets}


def make_image(number: int, size: tuple[int, int] | None = None) -> Image.Image:
    """Returns a smooth pattern with noise, of `size` (height, width) or one of SIZES."""
    generator = np.random.default_rng(number)
    height, width = size or SIZES[number % len(SIZES)]
    rows, columns = np.mgrid[:height, :width]
    steps = generator.uniform(0.5, 4, (2, 3))
    pixels = rows[..., None] * steps[0] + columns[..., None] * steps[1]
    pixels = pixels * generator.uniform(0.2, 1) + generator.normal(0, 20, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def make_cfg(choices):
    cfg = get_cfg_default()
    cfg.INPUT.TRANSFORMS, cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION = tuple(choices), (32, 40), "bicubic"
    cfg.INPUT.GB_K, cfg.INPUT.CUTOUT_N, cfg.INPUT.CUTOUT_LEN = 5, 2, 9
    return cfg


def digest(build_transform, choices, count: int, is_train: bool = True, size=None) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        transform = build_transform(make_cfg(choices), is_train=is_train)
    random.seed(count)
    np.random.seed(count)
    torch.manual_seed(count)
    sha = hashlib.sha256(printed.getvalue().encode())
    for number in range(count):
        sha.update(transform(make_image(number, size)).numpy().tobytes())
    sha.update(repr(random.getstate()).encode())
    sha.update(np.random.get_state()[1].tobytes() + bytes([np.random.get_state()[2] % 256]))
    sha.update(torch.get_rng_state().numpy().tobytes())
    return sha.hexdigest()[:16]


def digests(build_transform) -> dict[str, str]:
    result = {name: digest(build_transform, *case) for name, case in cases().items()}
    tests = (("normalize",), ("instance_norm",), ("normalize", "instance_norm", "cutout", "randaugment"))
    for choices in tests:
        result[f"test: {' '.join(choices)}"] = digest(build_transform, choices, 6, is_train=False)
    return result


def stored(build_transform) -> dict[str, str]:
    """Returns the digests of STORED on images of the final size, as resizing differs between versions of Pillow."""
    return {choice: digest(build_transform, (choice,), 100, size=(32, 40)) for choice in STORED}


def main(dassl: str, *flags: str) -> None:
    np.int = int  # upstream writes np.int, which numpy has dropped
    sys.path.insert(0, str(Path(dassl, "dassl", "data")))
    build_transform = importlib.import_module("transforms").build_transform
    result = stored(build_transform) if "--stored" in flags else digests(build_transform)
    print(json.dumps(result, indent=1))


if __name__ == "__main__":
    main(*sys.argv[1:])

"""Builds chains of transforms. INPUT.TRANSFORMS selects transforms; their order is fixed here."""

import random

import numpy as np
import torch
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from dassl.utils import EXIF_CHOICES, check_availability

from .autoaugment import CIFAR10Policy, ImageNetPolicy, SVHNPolicy
from .randaugment import RandAugment, RandAugment2, RandAugmentFixMatch

INTERPOLATION_MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}
RESIZE_MODES = ("shortest", "squash")


class Random2DTranslation:
    """Resizes to 9/8 of the size and takes a random crop with probability `p`; otherwise only resizes."""

    def __init__(self, height: int, width: int, p: float = 0.5, interpolation=InterpolationMode.BILINEAR):
        self.height = height
        self.width = width
        self.p = p
        self.interpolation = interpolation

    def __call__(self, image):
        if random.uniform(0, 1) > self.p:
            return F.resize(image, [self.height, self.width], self.interpolation)
        height, width = round(self.height * 1.125), round(self.width * 1.125)
        image = F.resize(image, [height, width], self.interpolation)
        left = round(random.uniform(0, width - self.width))
        top = round(random.uniform(0, height - self.height))
        return F.crop(image, top, left, self.height, self.width)


class Cutout:
    """Sets `n_holes` squares of side `length` at random centres to zero; squares are cut off at the border."""

    def __init__(self, n_holes: int = 1, length: int = 16):
        self.n_holes = n_holes
        self.length = length

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        height, width = image.shape[1:]
        half = self.length // 2
        mask = torch.ones(height, width)
        for _ in range(self.n_holes):
            y, x = np.random.randint(height), np.random.randint(width)
            mask[max(y - half, 0) : y + half, max(x - half, 0) : x + half] = 0
        return image * mask


class GaussianNoise:
    """Adds Gaussian noise with probability `p`. Values may leave [0, 1]."""

    def __init__(self, mean: float = 0, std: float = 0.15, p: float = 0.5):
        self.mean = mean
        self.std = std
        self.p = p

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        if random.uniform(0, 1) > self.p:
            return image
        return image + (torch.randn(image.shape) * self.std + self.mean)


class InstanceNormalization:
    """Normalizes each channel of an image to mean zero and standard deviation one."""

    def __init__(self, eps: float = 1e-8):
        self.eps = eps

    def __call__(self, image: torch.Tensor) -> torch.Tensor:
        pixels = image.flatten(1)  # (3, H * W)
        mean, std = pixels.mean(1)[:, None, None], pixels.std(1)[:, None, None]
        return (image - mean) / (std + self.eps)


def check_input(c) -> None:
    """Raises ValueError if a key that all images depend on is invalid, such as c.SIZE; c is cfg.INPUT."""
    if len(c.SIZE) != 2 or any(type(side) is not int or side < 1 for side in c.SIZE):
        raise ValueError(f"INPUT.SIZE must be (height, width) in pixels, such as (224, 224), got {tuple(c.SIZE)}")
    check_availability(c.INTERPOLATION, INTERPOLATION_MODES, key="INPUT.INTERPOLATION")
    check_availability(c.RESIZE_MODE, RESIZE_MODES, key="INPUT.RESIZE_MODE")
    check_availability(c.EXIF_ORIENTATION, EXIF_CHOICES, key="INPUT.EXIF_ORIENTATION")
    if c.CROP_BORDER < 0:
        raise ValueError(f"INPUT.CROP_BORDER must be 0 (no border) or a number of pixels, got {c.CROP_BORDER}")


def build_transform(cfg, is_train: bool = True, choices=None) -> T.Compose | None:
    """Builds the transform from PIL image to tensor (3, H, W); returns None with INPUT.NO_TRANSFORM.

    Args:
        choices: names used instead of INPUT.TRANSFORMS.

    Raises ValueError if a name is unknown or INPUT.SIZE is invalid.
    """
    check_input(cfg.INPUT)
    if cfg.INPUT.NO_TRANSFORM:
        print("Note: no transform is applied!")
        return None
    choices = cfg.INPUT.TRANSFORMS if choices is None else choices
    for choice in choices:
        check_availability(choice, AVAI_CHOICES, key="A name in INPUT.TRANSFORMS")
    build = _build_transform_train if is_train else _build_transform_test
    normalize = T.Normalize(mean=cfg.INPUT.PIXEL_MEAN, std=cfg.INPUT.PIXEL_STD)
    return build(cfg, choices, f"{cfg.INPUT.SIZE[0]}x{cfg.INPUT.SIZE[1]}", normalize)


def _build_transform_train(cfg, choices, target_size: str, normalize) -> T.Compose:
    c = cfg.INPUT
    steps = []
    if "random_crop" not in choices and "random_resized_crop" not in choices:
        steps.append((f"resize to {target_size}", T.Resize(c.SIZE, interpolation=_mode(c))))
    steps += [make(c) for name, make in IMAGE_CHOICES.items() if name in choices]
    return _chain("train", c, choices, steps, TENSOR_CHOICES, normalize)


def _build_transform_test(cfg, choices, target_size: str, normalize) -> T.Compose:
    c = cfg.INPUT
    squash = [(f"resize to {target_size}", T.Resize(c.SIZE, interpolation=_mode(c)))]
    shortest = [
        (f"resize the smaller edge to {max(c.SIZE)}", T.Resize(max(c.SIZE), interpolation=_mode(c))),
        (f"{target_size} center crop", T.CenterCrop(c.SIZE)),
    ]
    steps = squash if c.RESIZE_MODE == "squash" else shortest
    return _chain("test", c, choices, steps, ("normalize", "instance_norm"), normalize)


def _chain(name: str, c, choices, steps: list, tensor_choices, normalize) -> T.Compose:
    """Chains `steps` on PIL images, ToTensor, and those of `tensor_choices` that are in `choices`; prints the chain."""
    steps = [*steps, ("to torch tensor of range [0, 1]", T.ToTensor())]
    steps += [TENSOR_CHOICES[choice](c, normalize) for choice in tensor_choices if choice in choices]
    print(f"Building transform_{name}")
    for line, _ in steps:
        print(f"+ {line}")
    return T.Compose([transform for _, transform in steps])


# Below, c is cfg.INPUT. Each function returns (line to print, transform).


def _mode(c) -> InterpolationMode:
    return INTERPOLATION_MODES[c.INTERPOLATION]


def _random_resized_crop(c):
    crop = T.RandomResizedCrop(c.SIZE, scale=c.RRCROP_SCALE, interpolation=_mode(c))
    return f"random resized crop (size={c.SIZE}, scale={c.RRCROP_SCALE})", crop


def _colorjitter(c):
    b, co, s, h = c.COLORJITTER_B, c.COLORJITTER_C, c.COLORJITTER_S, c.COLORJITTER_H
    line = f"color jitter (brightness={b}, contrast={co}, saturation={s}, hue={h})"
    return line, T.ColorJitter(brightness=b, contrast=co, saturation=s, hue=h)


IMAGE_CHOICES = {  # on PIL images, applied in this order
    "random_translation": lambda c: ("random translation", Random2DTranslation(*c.SIZE)),
    "random_crop": lambda c: (
        f"random crop (padding = {c.CROP_PADDING})",
        T.RandomCrop(c.SIZE, padding=c.CROP_PADDING),
    ),
    "random_resized_crop": _random_resized_crop,
    "random_flip": lambda c: ("random flip", T.RandomHorizontalFlip()),
    "imagenet_policy": lambda c: ("imagenet policy", ImageNetPolicy()),
    "cifar10_policy": lambda c: ("cifar10 policy", CIFAR10Policy()),
    "svhn_policy": lambda c: ("svhn policy", SVHNPolicy()),
    "randaugment": lambda c: (
        f"randaugment (n={c.RANDAUGMENT_N}, m={c.RANDAUGMENT_M})",
        RandAugment(c.RANDAUGMENT_N, c.RANDAUGMENT_M),
    ),
    "randaugment_fixmatch": lambda c: (
        f"randaugment_fixmatch (n={c.RANDAUGMENT_N})",
        RandAugmentFixMatch(c.RANDAUGMENT_N),
    ),
    "randaugment2": lambda c: (f"randaugment2 (n={c.RANDAUGMENT_N})", RandAugment2(c.RANDAUGMENT_N)),
    "colorjitter": _colorjitter,
    "randomgrayscale": lambda c: ("random gray scale", T.RandomGrayscale(p=c.RGS_P)),
    "gaussian_blur": lambda c: (
        f"gaussian blur (kernel={c.GB_K})",
        T.RandomApply([T.GaussianBlur(c.GB_K)], p=c.GB_P),
    ),
}
TENSOR_CHOICES = {  # on tensors, applied in this order
    "cutout": lambda c, normalize: (
        f"cutout (n_holes={c.CUTOUT_N}, length={c.CUTOUT_LEN})",
        Cutout(c.CUTOUT_N, c.CUTOUT_LEN),
    ),
    "normalize": lambda c, normalize: (f"normalization (mean={c.PIXEL_MEAN}, std={c.PIXEL_STD})", normalize),
    "gaussian_noise": lambda c, normalize: (
        f"gaussian noise (mean={c.GN_MEAN}, std={c.GN_STD})",
        GaussianNoise(c.GN_MEAN, c.GN_STD),
    ),
    "instance_norm": lambda c, normalize: ("instance normalization", InstanceNormalization()),
}
# center_crop is accepted but has no effect: the test transform always crops
AVAI_CHOICES = [*IMAGE_CHOICES, *TENSOR_CHOICES, "center_crop"]

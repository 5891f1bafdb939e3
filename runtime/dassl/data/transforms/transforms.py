"""Chains torchvision transforms. The order is fixed here; INPUT.TRANSFORMS only says which take part."""

import torch
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from dassl.utils import check_availability

INTERPOLATION_MODES = {
    "bilinear": InterpolationMode.BILINEAR,
    "bicubic": InterpolationMode.BICUBIC,
    "nearest": InterpolationMode.NEAREST,
}


def build_transform(cfg, is_train: bool = True, choices=None) -> T.Compose | None:
    """The transform from PIL image to tensor (3, H, W), or None with INPUT.NO_TRANSFORM.

    Args:
        choices: names used in place of INPUT.TRANSFORMS.

    Raises ValueError on an unknown name.
    """
    if cfg.INPUT.NO_TRANSFORM:
        print("Note: no transform is applied!")
        return None
    choices = cfg.INPUT.TRANSFORMS if choices is None else choices
    for choice in choices:
        check_availability(choice, AVAI_CHOICES, what="A name in INPUT.TRANSFORMS")
    check_availability(cfg.INPUT.INTERPOLATION, INTERPOLATION_MODES, what="INPUT.INTERPOLATION")
    print(f"Building transform_{'train' if is_train else 'test'}")
    steps = _resize_train(cfg.INPUT, choices) if is_train else _resize_test(cfg.INPUT)
    if is_train:
        steps += [make(cfg.INPUT) for name, make in IMAGE_CHOICES.items() if name in choices]
    steps += [("to torch tensor of range [0, 1]", T.ToTensor())]
    tensor_choices = TENSOR_CHOICES if is_train else TEST_CHOICES
    steps += [make(cfg.INPUT) for name, make in tensor_choices.items() if name in choices]
    for line, _ in steps:
        print(f"+ {line}")
    return T.Compose([transform for _, transform in steps])


# Below, c is cfg.INPUT; each function returns (line to print, transform).


def _mode(c) -> InterpolationMode:
    return INTERPOLATION_MODES[c.INTERPOLATION]


def _resize_train(c, choices) -> list:
    """A plain resize, which may change the aspect ratio, where no crop brings the image to its size."""
    if "random_crop" in choices or "random_resized_crop" in choices:
        return []
    return [(f"resize to {c.SIZE[0]}x{c.SIZE[1]}", T.Resize(c.SIZE, interpolation=_mode(c)))]


def _resize_test(c) -> list:
    return [
        (f"resize the smaller edge to {max(c.SIZE)}", T.Resize(max(c.SIZE), interpolation=_mode(c))),
        (f"{c.SIZE[0]}x{c.SIZE[1]} center crop", T.CenterCrop(c.SIZE)),
    ]


def _random_translation(c):
    """Half of the images: resized to 9/8 of the size, then cropped at random; the others: resized."""
    larger = [round(side * 1.125) for side in c.SIZE]
    shifted = T.Compose([T.Resize(larger), T.RandomCrop(c.SIZE)])
    return "random translation", T.RandomChoice([T.Resize(c.SIZE), shifted])


def _random_crop(c):
    return f"random crop (padding = {c.CROP_PADDING})", T.RandomCrop(c.SIZE, padding=c.CROP_PADDING)


def _random_resized_crop(c):
    crop = T.RandomResizedCrop(c.SIZE, scale=c.RRCROP_SCALE, interpolation=_mode(c))
    return f"random resized crop (size={c.SIZE}, scale={c.RRCROP_SCALE})", crop


def _policy(name: str):
    return lambda c: (f"{name} policy", T.AutoAugment(T.AutoAugmentPolicy(name)))


def _randaugment(c):
    augment = T.RandAugment(c.RANDAUGMENT_N, c.RANDAUGMENT_M, num_magnitude_bins=31)
    return f"randaugment (n={c.RANDAUGMENT_N}, m={c.RANDAUGMENT_M})", augment


def _any_magnitude() -> T.RandomChoice:
    """One operation of RandAugment at a random magnitude."""
    return T.RandomChoice([T.RandAugment(1, m, num_magnitude_bins=31) for m in range(31)])


def _randaugment_fixmatch(c):
    operations = T.Compose([_any_magnitude() for _ in range(c.RANDAUGMENT_N)])
    return f"randaugment_fixmatch (n={c.RANDAUGMENT_N})", operations


def _randaugment2(c):
    operations = [T.RandomApply([_any_magnitude()], p=0.6) for _ in range(c.RANDAUGMENT_N)]
    return f"randaugment2 (n={c.RANDAUGMENT_N})", T.Compose(operations)


def _colorjitter(c):
    b, co, s, h = c.COLORJITTER_B, c.COLORJITTER_C, c.COLORJITTER_S, c.COLORJITTER_H
    line = f"color jitter (brightness={b}, contrast={co}, saturation={s}, hue={h})"
    return line, T.ColorJitter(brightness=b, contrast=co, saturation=s, hue=h)


def _gaussian_blur(c):
    return f"gaussian blur (kernel={c.GB_K})", T.RandomApply([T.GaussianBlur(c.GB_K)], p=c.GB_P)


class Cutout(torch.nn.Module):
    """Sets `n_holes` squares of side `length`, centred anywhere and cut at the border, to zero."""

    def __init__(self, n_holes: int = 1, length: int = 16):
        super().__init__()
        self.n_holes, self.length = n_holes, length

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        image = image.clone()
        for _ in range(self.n_holes):
            spans = []
            for size in image.shape[1:]:
                start = int(torch.randint(size, ())) - self.length // 2
                spans.append(slice(max(start, 0), max(start + 2 * (self.length // 2), 0)))
            image[:, spans[0], spans[1]] = 0.0
        return image


class GaussianNoise(torch.nn.Module):
    """Adds normal noise; values may leave [0, 1]."""

    def __init__(self, mean: float, std: float):
        super().__init__()
        self.mean, self.std = mean, std

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        return image + torch.randn_like(image) * self.std + self.mean


class InstanceNorm(torch.nn.Module):
    """Each channel of an image to mean zero and standard deviation one."""

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        std, mean = torch.std_mean(image, dim=(1, 2), keepdim=True)
        return (image - mean) / (std + 1e-8)


def _cutout(c):
    return f"cutout (n_holes={c.CUTOUT_N}, length={c.CUTOUT_LEN})", Cutout(c.CUTOUT_N, c.CUTOUT_LEN)


def _normalize(c):
    line = f"normalization (mean={c.PIXEL_MEAN}, std={c.PIXEL_STD})"
    return line, T.Normalize(mean=c.PIXEL_MEAN, std=c.PIXEL_STD)


def _gaussian_noise(c):
    noise = T.RandomApply([GaussianNoise(c.GN_MEAN, c.GN_STD)], p=0.5)
    return f"gaussian noise (mean={c.GN_MEAN}, std={c.GN_STD})", noise


IMAGE_CHOICES = {  # in this order, before the conversion to a tensor
    "random_translation": _random_translation,
    "random_crop": _random_crop,
    "random_resized_crop": _random_resized_crop,
    "random_flip": lambda c: ("random flip", T.RandomHorizontalFlip()),
    "imagenet_policy": _policy("imagenet"),
    "cifar10_policy": _policy("cifar10"),
    "svhn_policy": _policy("svhn"),
    "randaugment": _randaugment,
    "randaugment_fixmatch": _randaugment_fixmatch,
    "randaugment2": _randaugment2,
    "colorjitter": _colorjitter,
    "randomgrayscale": lambda c: ("random gray scale", T.RandomGrayscale(p=c.RGS_P)),
    "gaussian_blur": _gaussian_blur,
}
TENSOR_CHOICES = {  # in this order, after it
    "cutout": _cutout,
    "normalize": _normalize,
    "gaussian_noise": _gaussian_noise,
    "instance_norm": lambda c: ("instance normalization", InstanceNorm()),
}
TEST_CHOICES = {name: TENSOR_CHOICES[name] for name in ("normalize", "instance_norm")}
# center_crop is accepted and has no effect: testing always crops
AVAI_CHOICES = [*IMAGE_CHOICES, *TENSOR_CHOICES, "center_crop"]

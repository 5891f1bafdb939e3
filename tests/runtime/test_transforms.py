"""Printed lines and pixels of the transforms."""

import random

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from dassl.config import get_cfg_default
from dassl.data.transforms import AVAI_CHOICES, INTERPOLATION_MODES, build_transform

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
DASSL_CHOICES = (
    "random_flip random_resized_crop normalize instance_norm random_crop random_translation center_crop cutout "
    "imagenet_policy cifar10_policy svhn_policy randaugment randaugment_fixmatch randaugment2 gaussian_noise "
    "colorjitter randomgrayscale gaussian_blur"
).split()


def make_cfg(*choices, size=(224, 224)):
    cfg = get_cfg_default()
    cfg.INPUT.TRANSFORMS, cfg.INPUT.SIZE, cfg.INPUT.INTERPOLATION = choices, size, "bicubic"
    cfg.INPUT.PIXEL_MEAN, cfg.INPUT.PIXEL_STD = MEAN, STD
    return cfg


@pytest.fixture(scope="module")
def images():
    generator = np.random.default_rng(0)
    shapes = [(90, 120, 3), (120, 90, 3), (30, 200, 3), (64, 64, 3)]
    return [Image.fromarray(generator.integers(0, 255, shape, np.uint8)) for shape in shapes]


def run(transform, images, seed=0):
    torch.manual_seed(seed)
    random.seed(seed)
    np.random.seed(seed)
    return torch.stack([transform(image) for image in images])


def test_coop_recipe_in_training(images, capsys):
    tfm = build_transform(make_cfg("normalize", "random_flip", "random_resized_crop"), is_train=True)
    assert capsys.readouterr().out.splitlines() == [
        "Building transform_train",
        "+ random resized crop (size=(224, 224), scale=(0.08, 1.0))",
        "+ random flip",
        "+ to torch tensor of range [0, 1]",
        f"+ normalization (mean={MEAN}, std={STD})",
    ]
    crop = T.RandomResizedCrop(
        224, scale=(0.08, 1.0), ratio=(3 / 4, 4 / 3), interpolation=InterpolationMode.BICUBIC, antialias=True
    )
    plain = T.Compose([crop, T.RandomHorizontalFlip(0.5), T.ToTensor(), T.Normalize(MEAN, STD)])
    assert torch.equal(run(tfm, images), run(plain, images))


def test_coop_recipe_in_testing(images, capsys):
    tfm = build_transform(make_cfg("random_resized_crop", "random_flip", "normalize"), is_train=False)
    assert capsys.readouterr().out.splitlines() == [
        "Building transform_test",
        "+ resize the smaller edge to 224",
        "+ 224x224 center crop",
        "+ to torch tensor of range [0, 1]",
        f"+ normalization (mean={MEAN}, std={STD})",
    ]
    clip = [T.Resize(224, interpolation=InterpolationMode.BICUBIC), T.CenterCrop(224)]
    plain = T.Compose([*clip, T.ToTensor(), T.Normalize(MEAN, STD)])
    assert torch.equal(run(tfm, images), run(plain, images))


def test_plain_resize_without_a_crop(images, capsys):
    tfm = build_transform(make_cfg("normalize", size=(32, 40)))
    assert "+ resize to 32x40" in capsys.readouterr().out.splitlines()
    plain = T.Compose([T.Resize((32, 40), InterpolationMode.BICUBIC), T.ToTensor(), T.Normalize(MEAN, STD)])
    assert torch.equal(run(tfm, images), run(plain, images))


def test_order_is_fixed(capsys):
    build_transform(make_cfg(*reversed(DASSL_CHOICES), size=(32, 32)))
    names = [line.removeprefix("+ ").split(" (")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert names == [
        "random translation",
        "random crop",
        "random resized crop",
        "random flip",
        "imagenet policy",
        "cifar10 policy",
        "svhn policy",
        "randaugment",
        "randaugment_fixmatch",
        "randaugment2",
        "color jitter",
        "random gray scale",
        "gaussian blur",
        "to torch tensor of range [0, 1]",
        "cutout",
        "normalization",
        "gaussian noise",
        "instance normalization",
    ]


def test_choices_are_dassls():
    assert set(AVAI_CHOICES) == set(DASSL_CHOICES) and len(AVAI_CHOICES) == len(DASSL_CHOICES)
    assert list(INTERPOLATION_MODES) == ["bilinear", "bicubic", "nearest"]


@pytest.mark.parametrize("choice", DASSL_CHOICES)
def test_each_choice_gives_an_image_and_follows_the_seed(images, choice, capsys):
    cfg = make_cfg(choice, size=(32, 32))
    cfg.INPUT.GB_K = 5
    if choice == "random_crop":
        images = [image.resize((40, 40)) for image in images]
    tfm = build_transform(cfg)
    first = run(tfm, images * 4)
    assert first.shape == (16, 3, 32, 32) and first.dtype == torch.float32 and first.isfinite().all()
    assert torch.equal(first, run(tfm, images * 4))
    fixed = choice in ("normalize", "instance_norm", "center_crop")
    assert torch.equal(first, run(tfm, images * 4, seed=1)) == fixed


def test_colours_and_blur_equal_torchvision(images, capsys):
    cfg = make_cfg("colorjitter", "randomgrayscale", "gaussian_blur", size=(32, 32))
    cfg.INPUT.GB_K = 5
    plain = [T.Resize((32, 32), InterpolationMode.BICUBIC), T.ColorJitter(0.4, 0.4, 0.4, 0.1)]
    plain += [T.RandomGrayscale(0.2), T.RandomApply([T.GaussianBlur(5)], 0.5), T.ToTensor()]
    assert torch.equal(run(build_transform(cfg), images * 3), run(T.Compose(plain), images * 3))


def test_cutout(images):
    cfg = make_cfg("cutout", size=(32, 32))
    cfg.INPUT.CUTOUT_LEN = 8
    white = [Image.new("RGB", (32, 32), "white")] * 200
    holes = 1 - run(build_transform(cfg), white)[:, 0]  # (200, 32, 32)
    areas = holes.sum(dim=(1, 2))
    assert areas.max() == 64 and 16 <= areas.min() < 64  # whole squares, and squares cut at the border
    assert (holes.sum(dim=0) > 0).all()  # everywhere
    for hole in holes[:20]:
        rows, columns = hole.sum(1).nonzero(), hole.sum(0).nonzero()
        assert hole.sum() == len(rows) * len(columns)  # a rectangle


def test_noise_and_translation_happen_half_of_the_time():
    gray = [Image.new("RGB", (32, 32), (128, 128, 128))] * 400
    noisy = run(build_transform(make_cfg("gaussian_noise", size=(32, 32))), gray)
    changed = noisy.std(dim=(1, 2, 3)) > 0.01
    assert 0.4 < changed.float().mean() < 0.6
    assert noisy[changed].std() == pytest.approx(0.15, rel=0.05)
    ramp = Image.fromarray(np.tile(np.arange(0, 256, 8, dtype=np.uint8)[:, None, None], (1, 32, 3)))
    shifted = run(build_transform(make_cfg("random_translation", size=(32, 32))), [ramp] * 400)
    untouched = (shifted == T.ToTensor()(ramp)).flatten(1).all(dim=1)
    assert 0.4 < untouched.float().mean() < 0.6


def test_instance_norm(images):
    out = run(build_transform(make_cfg("instance_norm", size=(32, 32))), images)
    assert torch.allclose(out.mean(dim=(2, 3)), torch.zeros(4, 3), atol=1e-5)
    assert torch.allclose(out.std(dim=(2, 3)), torch.ones(4, 3), atol=1e-5)


def test_given_choices_replace_the_configured(capsys):
    build_transform(make_cfg("random_flip"), choices=["normalize"])
    out = capsys.readouterr().out
    assert "normalization" in out and "flip" not in out


def test_no_transform(capsys):
    cfg = make_cfg()
    cfg.INPUT.NO_TRANSFORM = True
    assert build_transform(cfg) is None
    assert "no transform is applied" in capsys.readouterr().out


def test_mistakes():
    with pytest.raises(ValueError, match="INPUT.TRANSFORMS must be one of .*'normalise' .did you mean 'normalize'"):
        build_transform(make_cfg("normalise"))
    cfg = make_cfg("normalize")
    cfg.INPUT.INTERPOLATION = "cubic"
    with pytest.raises(ValueError, match="INPUT.INTERPOLATION must be one of .*did you mean 'bicubic'"):
        build_transform(cfg)

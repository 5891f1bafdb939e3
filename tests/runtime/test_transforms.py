"""Printed lines and pixels of the transforms, and the states of the random generators after them."""

import json
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode

from dassl.config import get_cfg_default
from dassl.data.transforms import AVAI_CHOICES, INTERPOLATION_MODES, autoaugment, build_transform, randaugment
from tests.upstream.checkouts import DASSL, ROOT
from tests.user_errors import raises_user_error

from . import transform_digests

MEAN, STD = [0.48145466, 0.4578275, 0.40821073], [0.26862954, 0.26130258, 0.27577711]
DASSL_CHOICES = transform_digests.CHOICES


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


def test_choices_equal_dassls():
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


def test_dassls_own_transforms_give_the_stored_digests():
    """Pixels and random states of upstream Dassl; see `transform_digests`."""
    expected = json.loads(Path(transform_digests.__file__).with_suffix(".json").read_text())
    assert transform_digests.stored(build_transform) == expected


@pytest.mark.skipif(not DASSL, reason="UPSTREAM_DASSL is not set: its transforms were not compared with")
def test_every_choice_and_combination_equals_upstreams():
    command = [sys.executable, "-m", "tests.runtime.transform_digests", DASSL]
    upstream = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, timeout=600)
    expected = json.loads(upstream.stdout)
    ours = transform_digests.digests(build_transform)
    assert len(ours) > 200 and [name for name in expected if ours[name] != expected[name]] == []


def as_array(image):
    return np.asarray(image).astype(int)


@pytest.mark.parametrize(
    "operation,value,formula",
    [
        (randaugment.invert, 0, lambda x: 255 - x),
        (randaugment.posterize, 5.9, lambda x: x // 8 * 8),  # 5 bits are kept
        (randaugment.solarize, 100.5, lambda x: np.where(x < 100.5, x, 255 - x)),
        (randaugment.solarize_add, 30.7, lambda x: np.where(x < 98, x + 30, 255 - np.minimum(x + 30, 255))),
        (randaugment.brightness, 0.3, lambda x: (x * np.float32(0.3)).astype(int)),
        (randaugment.identity, 0, lambda x: x),
        (randaugment.translate_x_pixels, 3, lambda x: np.pad(x, ((0, 0), (0, 3), (0, 0)))[:, 3:]),
        (randaugment.translate_y, 0.25, lambda x: np.pad(x, ((0, 16), (0, 0), (0, 0)))[16:]),
    ],
)
def test_operations_equal_plain_formulas(images, operation, value, formula):
    random.seed(2)  # random() is 0.956: the sign changes
    image = images[3]
    expected = formula(as_array(image))
    if operation.__name__.startswith("translate"):
        random.seed(1)  # random() is 0.134: the sign stays
    assert np.array_equal(as_array(operation(image, value)), expected)


def test_policies_fill_with_gray_and_use_a_random_sign(images):
    image = images[3]
    expected = {-1: as_array(image)[:, :-10], 1: as_array(image)[:, 10:]}
    signs = set()
    for seed in range(8):
        random.seed(seed)
        sign = random.choice([-1, 1])
        random.seed(seed)
        moved = as_array(autoaugment.OPERATIONS["translatex"](image, 10 / 64, (128, 128, 128)))
        inside, border = (moved[:, :-10], moved[:, -10:]) if sign == 1 else (moved[:, 10:], moved[:, :10])
        assert np.array_equal(inside, expected[sign]) and (border == 128).all()
        signs.add(sign)
    assert signs == {-1, 1}


def test_cutout_equals_plain_formula():
    cfg = make_cfg("cutout", size=(32, 32))
    cfg.INPUT.CUTOUT_LEN, cfg.INPUT.CUTOUT_N = 8, 2
    white = [Image.new("RGB", (32, 32), "white")] * 200
    holes = 1 - run(build_transform(cfg), white)[:, 0]  # (200, 32, 32)
    np.random.seed(0)
    rows, columns = np.mgrid[:32, :32]
    for hole in holes:
        expected = np.zeros((32, 32), bool)
        for _ in range(2):
            y, x = np.random.randint(32), np.random.randint(32)
            expected |= (rows >= y - 4) & (rows < y + 4) & (columns >= x - 4) & (columns < x + 4)
        assert np.array_equal(hole.bool().numpy(), expected)


def test_noise_equals_plain_formula():
    gray = [Image.new("RGB", (32, 32), (128, 128, 128))] * 400
    noisy = run(build_transform(make_cfg("gaussian_noise", size=(32, 32))), gray)
    random.seed(0)
    torch.manual_seed(0)
    changed = [random.random() <= 0.5 for _ in gray]
    assert 0.4 < np.mean(changed) < 0.6
    for image, noise in zip(noisy, changed, strict=True):
        expected = 128 / 255 + (0.15 * torch.randn(3, 32, 32) if noise else 0)
        torch.testing.assert_close(image, torch.as_tensor(expected).expand(3, 32, 32), check_dtype=False)


def test_translation_equals_plain_formula(images):
    moved = run(build_transform(make_cfg("random_translation", size=(32, 40))), images * 10)
    random.seed(0)
    for image, got in zip(images * 10, moved, strict=True):
        image = image.resize((40, 32), Image.Resampling.BICUBIC)  # the first transform resizes the image
        if random.random() <= 0.5:
            larger = image.resize((45, 36), Image.Resampling.BILINEAR)
            left, top = round(5 * random.random()), round(4 * random.random())
            image = larger.crop((left, top, left + 40, top + 32))
        assert torch.equal(got, T.ToTensor()(image))


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


def test_user_errors():
    with raises_user_error("INPUT.TRANSFORMS", "'normalise'", "'normalize'"):
        build_transform(make_cfg("normalise"))
    cfg = make_cfg("randaugment")
    cfg.INPUT.RANDAUGMENT_M = 31
    with raises_user_error("INPUT.RANDAUGMENT_M", "0", "30", "31"):
        build_transform(cfg)
    cfg = make_cfg("normalize")
    cfg.INPUT.INTERPOLATION = "cubic"
    with raises_user_error("INPUT.INTERPOLATION", "'cubic'", "'bicubic'"):
        build_transform(cfg)

"""Corruptions against plain loops, against the package imagecorruptions, and for small, odd and grey images."""

import colorsys
import math

import numpy as np
import pytest
from PIL import Image

from tests.tools.corrupting.pictures import picture
from tools.corrupting import catalogue, noise_and_blur, package, sweeps, weather_and_digital
from tools.corrupting.catalogue import Condition, corrupt

WITHIN_1 = {"defocus_blur", "snow"}  # rounding errors before the truncation to whole numbers


def close(found, expected, tolerance=1e-9):
    assert np.abs(np.asarray(found, float) - expected).max() < tolerance


def test_noise_is_added_value_by_value():
    image, sigma = picture(5, 6), (0.08, 0.12, 0.18, 0.26, 0.38)
    for severity in (1, 5):
        rng, expected = np.random.RandomState(3), []
        for value in image.ravel().tolist():
            expected.append(255 * min(1, max(0, value / 255 + sigma[severity - 1] * rng.standard_normal())))
        found = noise_and_blur.gaussian_noise(image, severity, np.random.RandomState(3))
        close(found.ravel(), expected)
    found = noise_and_blur.impulse_noise(np.full((100, 100, 3), 128, np.uint8), 4, np.random.RandomState(0))
    shares = [(found == value).mean() for value in (0, 255, 128)]
    assert shares == pytest.approx([0.085, 0.085, 0.83], abs=0.01)


def test_a_blur_by_loops_over_the_neighbours():
    image = picture(20, 23)
    kernel = noise_and_blur.disk(3, 0.1)
    line = np.exp(-(np.arange(-1, 2) ** 2) / 0.02)
    line /= line.sum()
    disk = np.array([[x * x + y * y <= 9 for x in range(-8, 9)] for y in range(-8, 9)], float) / 29
    for y, x in ((8, 8), (5, 8), (8, 11), (0, 0)):
        near = [(y + dy, x + dx, line[dy + 1] * line[dx + 1]) for dy in (-1, 0, 1) for dx in (-1, 0, 1)]
        assert kernel[y, x] == pytest.approx(sum(w * disk[abs(j), abs(i)] for j, i, w in near), abs=1e-7)
    found = noise_and_blur.defocus_blur(image, 1, None)

    def mirrored(i, n):
        return -i if i < 0 else 2 * (n - 1) - i if i >= n else i

    for y, x in ((0, 0), (10, 11), (19, 3)):
        expected = sum(
            kernel[j + 8, i + 8] * image[mirrored(y + j, 20), mirrored(x + i, 23)].astype(float)
            for j in range(-8, 9)
            for i in range(-8, 9)
        )
        close(found[y, x], expected, 1e-4)


def test_motion_is_a_weighted_mean_of_shifted_images():
    image = picture(12, 15)
    angle = np.random.RandomState(1).uniform(-45, 45)
    found = noise_and_blur.motion_blur(image, 1, np.random.RandomState(1))
    weights = [math.exp(-(i**2) / 18) for i in range(21)]
    expected = np.zeros((12, 15, 3))
    for i, weight in enumerate(weights):
        down, right = (-math.ceil(i * f(math.radians(angle)) - 0.5) for f in (math.sin, math.cos))
        if abs(down) >= 12 or abs(right) >= 15:
            break
        for y in range(12):
            for x in range(15):
                source = image[min(max(y - down, 0), 11), min(max(x - right, 0), 14)]
                expected[y, x] += weight / sum(weights) * source
    close(found, expected)


def test_glass_takes_near_pixels_one_after_the_other():
    found = noise_and_blur.replaced_by_near_ones(9, 8, 2, 3, np.random.RandomState(2))
    rng, image = np.random.RandomState(2), np.arange(72).reshape(9, 8)
    for _ in range(3):
        for y in range(7, 2, -1):
            for x in range(6, 2, -1):
                right, down = rng.randint(-2, 2, size=2)
                image[y, x] = image[y + down, x + right]
    assert found.tolist() == image.ravel().tolist() and len(set(found.tolist())) < 72
    assert noise_and_blur.replaced_by_near_ones(4, 4, 3, 2, rng).tolist() == list(range(16))  # too small to shuffle


@pytest.mark.parametrize("severity", [1, 3, 5])
def test_colours_are_changed_in_hsv(severity):
    image = picture(6, 7)
    image[0, :3] = ([90, 90, 90], [0, 0, 0], [255, 255, 255])
    addition = (0.1, 0.2, 0.3, 0.4, 0.5)[severity - 1]
    factor, more = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))[severity - 1]
    brighter = weather_and_digital.brightness(image, severity, None)
    saturated = weather_and_digital.saturate(image, severity, None)
    contrast = weather_and_digital.contrast(image, severity, None)
    means = image.reshape(-1, 3).mean(0)
    for y, x in np.ndindex(6, 7):
        h, s, v = colorsys.rgb_to_hsv(*(image[y, x] / 255))
        close(brighter[y, x], 255 * np.array(colorsys.hsv_to_rgb(h, s, min(v + addition, 1))))
        close(saturated[y, x], 255 * np.array(colorsys.hsv_to_rgb(h, min(s * factor + more, 1), v)))
        close(contrast[y, x], (image[y, x] - means) * (0.4, 0.3, 0.2, 0.1, 0.05)[severity - 1] + means)


def test_sweeps():
    image = picture(40, 40)
    assert np.array_equal(sweeps.resolution(image, 40, None), image)
    small = sweeps.resolution(image, 10, None)
    blocks = image.reshape(10, 4, 10, 4, 3).mean((1, 3))
    assert np.abs(small.reshape(10, 4, 10, 4, 3).mean((1, 3)) - blocks).mean() < 6
    grey = sweeps.grey(image, 100, None)
    assert (grey == grey[:, :, :1]).all() and np.abs(grey[:, :, 0] - image @ [0.299, 0.587, 0.114]).max() < 1.01
    half = (grey.astype(int) + image) / 2
    assert np.abs(sweeps.grey(image, 50, None) - half).max() <= 1
    errors = [np.abs(sweeps.jpeg(image, q, None).astype(int) - image).mean() for q in (90, 30, 5)]
    assert errors == sorted(errors) and errors[0] > 0


@pytest.mark.parametrize("name", catalogue.OWN)
def test_the_package_gives_the_same_pixels(name, monkeypatch):
    corruptions = pytest.importorskip("imagecorruptions").corruptions
    shuffle = corruptions._shuffle_pixels_njit_glass_blur
    monkeypatch.setattr(corruptions, "_shuffle_pixels_njit_glass_blur", shuffle.py_func)  # with NumPy's numbers
    options = {"seed": 5} if name in ("impulse_noise", "glass_blur") else {}
    differences = []
    for image in (picture(64, 64), picture(33, 47), np.repeat(picture(32, 32)[:, :, :1], 3, axis=2)):
        for severity in (1, 3, 5):
            rng = np.random.default_rng(5) if name == "impulse_noise" else np.random.RandomState(5)
            own = np.asarray(catalogue.function_of(name)(image, severity, rng)).astype(np.uint8)
            np.random.seed(5)
            expected = np.uint8(getattr(corruptions, name)(Image.fromarray(image), severity, **options))
            differences.append(np.abs(own.astype(int) - expected).ravel())
    differences = np.concatenate(differences)
    assert differences.max() <= (name in WITHIN_1) and (differences > 0).mean() < 0.01


@pytest.mark.parametrize("name", package.FUNCTIONS)
def test_what_the_package_computes(name):
    """With the numbers of the image's seed, without touching the global generator."""
    corruptions = pytest.importorskip("imagecorruptions").corruptions
    state = np.random.get_state()[1].copy()
    for severity in (2, 5):
        found = corrupt(picture(), Condition(name, severity), "key", 1)
        assert np.array_equal(np.random.get_state()[1], state)
        with package.global_numbers_of(np.random.RandomState(catalogue.seed_of("key", Condition(name, severity), 1))):
            expected = np.uint8(getattr(corruptions, name)(Image.fromarray(picture()), severity))
        assert np.array_equal(found, expected)
        assert not np.array_equal(found, picture())


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (28, 28), (33, 47)])
def test_images_of_any_size_and_grey_ones(size):
    for name in catalogue.OWN:
        for image in (picture(*size), np.full((*size, 3), 7, np.uint8), np.zeros((*size, 3), np.uint8)):
            for severity in (1, 5):
                found = corrupt(image, Condition(name, severity), "key", 1)
                assert found.dtype == np.uint8 and found.shape == image.shape, name
    smooth = ("defocus_blur", "glass_blur", "zoom_blur", "gaussian_blur", "contrast", "pixelate", "elastic_transform")
    for name in smooth:  # a uniform image stays uniform, up to the truncation
        found = corrupt(np.full((*size, 3), 100, np.uint8), Condition(name, 3), "key", 1)
        assert found.min() >= 98 and found.max() <= 101, name

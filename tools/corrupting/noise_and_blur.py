"""Noise and blur of ImageNet-C (https://arxiv.org/abs/1903.12261), for images of any size.

Each function takes an image (H, W, 3) of uint8, the severity 1 to 5 and a random generator, and returns pixel values
(H, W, 3) from 0 to 255. The parameters are those of ImageNet-C, which are for 224 x 224 pixels.

The formulas are those of the package imagecorruptions, which applies ImageNet-C to images of any size. With the same
random numbers, the results are equal (`docs/robustness.md` has the exceptions). The order of operations is therefore
kept: results are truncated to whole numbers, so that a difference of 1e-16 may become one of 1.
"""

import math

import numpy as np
from scipy import ndimage

GAUSSIAN_NOISE = (0.08, 0.12, 0.18, 0.26, 0.38)  # standard deviation
SHOT_NOISE = (60, 25, 12, 5, 3)  # photons of a white pixel
IMPULSE_NOISE = (0.03, 0.06, 0.09, 0.17, 0.27)  # share of values that become 0 or 1
SPECKLE_NOISE = (0.15, 0.2, 0.35, 0.45, 0.6)  # standard deviation, relative to the pixel
GAUSSIAN_BLUR = (1, 2, 3, 4, 6)  # standard deviation in pixels
DEFOCUS_BLUR = ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5))  # radius, blur of the disk
GLASS_BLUR = ((0.7, 1, 2), (0.9, 2, 1), (1, 2, 3), (1.1, 3, 2), (1.5, 4, 2))  # blur, largest shift, repetitions
MOTION_BLUR = ((10, 3), (15, 5), (15, 8), (15, 12), (20, 15))  # radius, standard deviation
ZOOM_BLUR = ((1.11, 0.01), (1.16, 0.01), (1.21, 0.02), (1.26, 0.02), (1.31, 0.03))  # end and step of the factors


def unit(image: np.ndarray) -> np.ndarray:
    """Returns the pixels from 0 to 1, in float64."""
    return image / 255.0


def scaled(pixels: np.ndarray) -> np.ndarray:
    """Returns pixels of 0 to 1, which are clipped, from 0 to 255."""
    return np.clip(pixels, 0, 1) * 255


def gaussian_noise(image, severity, rng):
    pixels = unit(image)
    return scaled(pixels + rng.normal(size=pixels.shape, scale=GAUSSIAN_NOISE[severity - 1]))


def shot_noise(image, severity, rng):
    photons = SHOT_NOISE[severity - 1]
    return scaled(rng.poisson(unit(image) * photons) / photons)


def impulse_noise(image, severity, rng):
    pixels = unit(image)
    replaced = rng.random(pixels.shape) <= IMPULSE_NOISE[severity - 1]
    white = rng.random(pixels.shape) <= 0.5
    return scaled(np.where(replaced, white, pixels))


def speckle_noise(image, severity, rng):
    pixels = unit(image)
    return scaled(pixels + pixels * rng.normal(size=pixels.shape, scale=SPECKLE_NOISE[severity - 1]))


def smoothed(pixels: np.ndarray, sigma: float) -> np.ndarray:
    """Returns an image (H, W, 3) blurred by a Gaussian with a standard deviation of `sigma` pixels."""
    return ndimage.gaussian_filter(pixels, (sigma, sigma, 0), mode="nearest")


def gaussian_blur(image, severity, rng):
    return scaled(smoothed(unit(image), GAUSSIAN_BLUR[severity - 1]))


def glass_blur(image, severity, rng):
    """Blurs, replaces pixels by near ones, blurs again."""
    sigma, reach, repetitions = GLASS_BLUR[severity - 1]
    blurred = (smoothed(unit(image), sigma) * 255).astype(np.uint8)
    height, width = image.shape[:2]
    source = replaced_by_near_ones(height, width, reach, repetitions, rng)
    shuffled = blurred.reshape(-1, 3)[source].reshape(blurred.shape)
    return scaled(smoothed(unit(shuffled), sigma))


def replaced_by_near_ones(height: int, width: int, reach: int, repetitions: int, rng) -> np.ndarray:
    """Returns for each pixel of an image the index of the pixel that replaces it, (height * width,).

    From the bottom right to the top left, each pixel takes the present value of one up to `reach` pixels away.
    ImageNet-C meant to exchange the two, but its code overwrites the first value before copying it.
    """
    source = list(range(height * width))
    rows = np.arange(height - reach, reach, -1)
    columns = np.arange(width - reach, reach, -1)
    n = len(rows) * len(columns)
    places = (rows[:, None] * width + columns).ravel().tolist()
    for _ in range(repetitions if n else 0):
        shifts = rng.randint(-reach, reach, size=(n, 2), dtype=np.int64)  # to the right, down
        others = (np.asarray(places) + shifts[:, 1] * width + shifts[:, 0]).tolist()
        for place, other in zip(places, others, strict=True):
            source[place] = source[other]
    return np.asarray(source)


def disk(radius: int, sigma: float) -> np.ndarray:
    """Returns a disk whose values sum to 1, slightly blurred, float32."""
    half, reach = (8, 1) if radius <= 8 else (radius, 2)
    line = np.arange(-half, half + 1)
    inside = (line[:, None] ** 2 + line**2 <= radius**2).astype(np.float32)
    inside /= inside.sum()
    weights = np.exp(-(np.arange(-reach, reach + 1) ** 2) / (2 * sigma**2))
    for axis in (0, 1):
        inside = ndimage.correlate1d(inside, weights / weights.sum(), axis, mode="mirror")
    return inside


def defocus_blur(image, severity, rng):
    kernel = disk(*DEFOCUS_BLUR[severity - 1])
    return scaled(ndimage.correlate(unit(image), kernel[:, :, None].astype(np.float64), mode="mirror"))


def motion_blur(image, severity, rng):
    radius, sigma = MOTION_BLUR[severity - 1]
    return np.clip(moved(image, radius, sigma, rng.uniform(-45, 45)), 0, 255)


def moved(pixels: np.ndarray, radius: int, sigma: float, angle: float) -> np.ndarray:
    """Returns the weighted mean of an image (H, W) or (H, W, 3) shifted step by step in one direction, float64.

    The weights are half a Gaussian. `angle` is in degrees. Pixels from outside the image are those at its border.
    """
    height, width = pixels.shape[:2]
    n = 2 * radius + 1
    weights = np.exp(-(np.arange(n) ** 2) / (2 * sigma**2)) / (math.sqrt(2 * math.pi) * sigma)
    weights = weights / np.sum(weights)
    down, right = math.sin(math.radians(angle)), math.cos(math.radians(angle))
    reach = min(n, max(height, width))
    padded = np.pad(pixels, [(reach, reach), (reach, reach), (0, 0)][: pixels.ndim], mode="edge")
    result = np.zeros(pixels.shape)
    for i in range(n):
        rows, columns = -math.ceil(i * down - 0.5), -math.ceil(i * right - 0.5)
        if abs(rows) >= height or abs(columns) >= width:
            break
        top, left = reach - rows, reach - columns
        result += weights[i] * padded[top : top + height, left : left + width]
    return result


def zoomed(pixels: np.ndarray, factor: float) -> np.ndarray:
    """Returns the centre of an image (H, W) or (H, W, 3), enlarged to at least (H, W), with linear interpolation."""
    height, width = pixels.shape[:2]
    rows, columns = math.ceil(height / factor), math.ceil(width / factor)
    top, left = (height - rows) // 2, (width - columns) // 2
    centre = pixels[top : top + rows, left : left + columns]
    if pixels.ndim == 2:
        return ndimage.zoom(centre, factor, order=1)
    return np.stack([ndimage.zoom(centre[:, :, i], factor, order=1) for i in range(pixels.shape[2])], axis=-1)


def zoom_blur(image, severity, rng):
    height, width = image.shape[:2]
    pixels = unit(image).astype(np.float32)
    factors = np.arange(1, *ZOOM_BLUR[severity - 1])
    total = np.zeros_like(pixels)
    for factor in factors:
        total += zoomed(pixels, factor)[:height, :width]
    return scaled((pixels + total) / (len(factors) + 1))

"""Weather, colours and digital corruptions of ImageNet-C; arguments and formulas as in `noise_and_blur`."""

import io

import numpy as np
from PIL import Image
from scipy import ndimage

from .noise_and_blur import moved, scaled, unit, zoomed

# mean and standard deviation of the noise, zoom, least value, radius and blur of the motion, share of the image
SNOW = (
    (0.1, 0.3, 3, 0.5, 10, 4, 0.8),
    (0.2, 0.3, 2, 0.5, 12, 4, 0.7),
    (0.55, 0.3, 4, 0.9, 12, 8, 0.7),
    (0.55, 0.3, 4.5, 0.85, 12, 8, 0.65),
    (0.55, 0.3, 2.5, 0.85, 12, 12, 0.55),
)
FOG = ((1.5, 2), (2, 2), (2.5, 1.7), (2.5, 1.5), (3, 1.4))  # thickness, decay of the noise per halving
BRIGHTNESS = (0.1, 0.2, 0.3, 0.4, 0.5)  # added to the value of HSV
CONTRAST = (0.4, 0.3, 0.2, 0.1, 0.05)  # factor
SATURATE = ((0.3, 0), (0.1, 0), (2, 0), (5, 0.1), (20, 0.2))  # factor and addition to the saturation of HSV
JPEG_COMPRESSION = (25, 18, 15, 10, 7)  # quality
PIXELATE = (0.6, 0.5, 0.4, 0.3, 0.25)  # factor of the side
ELASTIC_TRANSFORM = (12.5, 16.25, 21.25, 25.0, 30.0)  # factor of the displacements


def snow(image, severity, rng):
    mean, std, zoom, least, radius, sigma, share = SNOW[severity - 1]
    pixels = unit(image.astype(np.float32))
    height, width = image.shape[:2]
    flakes = zoomed(rng.normal(size=(height, width), loc=mean, scale=std), zoom)
    flakes[flakes < least] = 0
    flakes = moved(np.clip(flakes, 0, 1), radius, sigma, rng.uniform(-135, -45))
    flakes = np.round(flakes * 255).astype(np.uint8)[:height, :width, None] / 255.0
    grey = pixels @ np.array([[0.299], [0.587], [0.114]], np.float32)
    whitened = share * pixels + (1 - share) * np.maximum(pixels, grey * 1.5 + 0.5)
    return scaled(whitened + flakes + np.rot90(flakes, k=2))


def fog(image, severity, rng):
    thickness, decay = FOG[severity - 1]
    height, width = image.shape[:2]
    pixels = unit(image)
    brightest = pixels.max()
    pixels += (thickness * plasma(power_of_2(max(height, width, 3)), decay, rng))[:height, :width, None]
    return scaled(pixels * brightest / (brightest + thickness))


def power_of_2(n: int) -> int:
    """Returns the smallest power of 2 that is not below n."""
    return 1 << (n - 1).bit_length()


def plasma(side: int, decay: float, rng) -> np.ndarray:
    """Returns a fractal (side, side) from 0 to 1, by the diamond-square algorithm on a torus, float32.

    `side` is a power of 2. The points of a grid are the mean of four neighbours plus noise, which is divided by `decay`
    when the grid gets finer.
    """
    heights = np.zeros((side, side), np.float32)
    noise = 100
    step = side

    def with_noise(sums):
        return sums / 4 + noise * rng.uniform(-noise, noise, sums.shape)

    while step >= 2:
        half = step // 2
        corners = heights[::step, ::step]
        sums = corners + np.roll(corners, -1, axis=0)
        sums += np.roll(sums, -1, axis=1)
        heights[half::step, half::step] = with_noise(sums)
        centres = heights[half::step, half::step]
        above_and_below = centres + np.roll(centres, 1, axis=0)
        left_and_right = corners + np.roll(corners, -1, axis=1)
        heights[::step, half::step] = with_noise(above_and_below + left_and_right)
        left_and_right = centres + np.roll(centres, 1, axis=1)
        above_and_below = corners + np.roll(corners, -1, axis=0)
        heights[half::step, ::step] = with_noise(left_and_right + above_and_below)
        step, noise = half, noise / decay
    heights -= heights.min()
    return heights / heights.max()


def to_hsv(pixels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Returns hue, saturation and value (H, W) of pixels (H, W, 3), all from 0 to 1. Grey has hue and saturation 0."""
    red, green, blue = np.moveaxis(pixels, -1, 0)
    value = pixels.max(-1)
    spread = value - pixels.min(-1)
    with np.errstate(invalid="ignore", divide="ignore"):
        saturation = spread / value
        hue = (green - blue) / spread
        hue = np.where(green == value, 2.0 + (blue - red) / spread, hue)
        hue = np.where(blue == value, 4.0 + (red - green) / spread, hue)
    is_grey = spread == 0
    return np.where(is_grey, 0.0, (hue / 6.0) % 1.0), np.where(is_grey, 0.0, saturation), value


def to_rgb(hue: np.ndarray, saturation: np.ndarray, value: np.ndarray) -> np.ndarray:
    """Returns pixels (H, W, 3) of hue, saturation and value (H, W)."""
    sector = np.floor(hue * 6)
    rest = hue * 6 - sector
    low = value * (1 - saturation)
    falling = value * (1 - rest * saturation)
    rising = value * (1 - (1 - rest) * saturation)
    sector = sector.astype(np.int64) % 6
    channels = (
        (value, falling, low, low, rising, value),
        (rising, value, value, falling, low, low),
        (low, low, rising, value, value, falling),
    )
    return np.stack([np.choose(sector, channel) for channel in channels], axis=-1)


def brightness(image, severity, rng):
    hue, saturation, value = to_hsv(unit(image))
    return scaled(to_rgb(hue, saturation, np.clip(value + BRIGHTNESS[severity - 1], 0, 1)))


def saturate(image, severity, rng):
    factor, addition = SATURATE[severity - 1]
    hue, saturation, value = to_hsv(unit(image))
    return scaled(to_rgb(hue, np.clip(saturation * factor + addition, 0, 1), value))


def contrast(image, severity, rng):
    pixels = unit(image)
    means = pixels.mean(axis=(0, 1), keepdims=True)
    return scaled((pixels - means) * CONTRAST[severity - 1] + means)


def as_jpeg(image: np.ndarray, quality: int) -> np.ndarray:
    """Returns an image (H, W, 3) of uint8 as it is after JPEG compression with Pillow."""
    file = io.BytesIO()
    Image.fromarray(image).save(file, "JPEG", quality=quality)
    return np.asarray(Image.open(file))


def jpeg_compression(image, severity, rng):
    return as_jpeg(image, JPEG_COMPRESSION[severity - 1])


def pixelate(image, severity, rng):
    height, width = image.shape[:2]
    factor = PIXELATE[severity - 1]
    small = Image.fromarray(image).resize((max(1, int(width * factor)), max(1, int(height * factor))), Image.BOX)
    return np.asarray(small.resize((width, height), Image.NEAREST))


def elastic_transform(image, severity, rng):
    """Moves each pixel by smooth random displacements."""
    height, width = image.shape[:2]
    pixels = unit(image.astype(np.float32))
    sigma, largest = (0.01 * height, 0.01 * width), 0.005 * height
    right, down = (
        (
            ndimage.gaussian_filter(rng.uniform(-largest, largest, (height, width)), sigma, mode="reflect", truncate=3)
            * ELASTIC_TRANSFORM[severity - 1]
        ).astype(np.float32)
        for _ in range(2)
    )
    places = np.arange(height)[:, None] + down, np.arange(width) + right
    channels = [ndimage.map_coordinates(pixels[:, :, i], places, order=1, mode="reflect") for i in range(3)]
    return scaled(np.stack(channels, axis=-1))

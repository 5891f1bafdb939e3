"""Loops over pixels, compiled by Numba: resizing with Pillow's arithmetic, mirroring, and bytes to floats.

`fast_pixels` imports this module if Numba is installed. An image is (height, width, 3) uint8. An argument `source` is
a flat array whose image rows start `stride` bytes apart, so it may be a crop of a larger image.
"""

import numpy as np
from numba import njit

BITS = 22  # fraction bits of a fixed-point weight
HALF = 1 << BITS - 1  # 0.5 in fixed point, for rounding
ROWS = 16  # rows that `resize_along_rows` processes at once, for the processor's vector instructions


def njit_cached(function):
    """Compiles a function and caches it on disk, if a folder is writable. The function releases the GIL.

    Torch's pin-memory thread finishes batches while the main thread trains, so the GIL must not block it.
    """
    try:
        return njit(cache=True, nogil=True)(function)
    except RuntimeError:  # neither this folder nor the user's cache folder is writable
        return njit(nogil=True)(function)


@njit_cached
def resize(source, stride, height, width, cubic, vertical_first, out):
    """Resizes `source` into `out` as Pillow does with BICUBIC (`cubic`) or BILINEAR: two passes, rounded in between."""
    new_height, new_width = out.shape[:2]
    rows = out.reshape(new_height, 3 * new_width)
    if vertical_first:
        between = np.empty((new_height, 3 * width), np.uint8)
        weighted_rows(source, stride, *weights(height, new_height, cubic), between)
        resize_along_rows(between.reshape(-1), 3 * width, width, cubic, rows)
    else:
        between = np.empty((height, 3 * new_width), np.uint8)
        resize_along_rows(source, stride, width, cubic, between)
        weighted_rows(between.reshape(-1), 3 * new_width, *weights(height, new_height, cubic), rows)


@njit
def resize_along_rows(source, stride, width, cubic, out):
    """Resizes rows of `width` pixels to the width of `out`. Transposes 16 rows at a time, so that sums vectorize."""
    height, new_width = out.shape[0], out.shape[1] // 3
    first, count, table = weights(width, new_width, cubic)
    columns = np.zeros((width, 3 * ROWS), np.uint8)
    results = np.empty((new_width, 3 * ROWS), np.uint8)
    for top in range(0, height, ROWS):
        n = min(ROWS, height - top)
        for r in range(n):
            row = source[(top + r) * stride :]
            for x in range(width):
                for c in range(3):
                    columns[x, c * ROWS + r] = row[3 * x + c]
        weighted_rows(columns.reshape(-1), 3 * ROWS, first, count, table, results)
        for r in range(n):
            for x in range(new_width):
                for c in range(3):
                    out[top + r, 3 * x + c] = results[x, c * ROWS + r]


@njit
def weighted_rows(source, stride, first, count, table, out):
    """Sets row i of `out` to the weighted sum of `count[i]` rows of `source` from `first[i]` on, clipped to 0..255."""
    n = out.shape[1]
    sums = np.empty(n, np.int32)
    for i in range(out.shape[0]):
        sums[:] = HALF
        for k in range(count[i]):
            start = (first[i] + k) * stride
            row, weight = source[start : start + n], table[i, k]
            for j in range(n):
                sums[j] += np.int32(row[j]) * weight
        result = out[i]
        for j in range(n):
            result[j] = min(max(sums[j] >> BITS, 0), 255)


@njit
def weights(n_in, n_out, cubic):
    """Returns (first, count, table): pixel i of `n_out` is the sum of table[i, k] * source[first[i] + k], k < count[i].

    The filter is a triangle, or Keys' cubic with a = -0.5. It is stretched by the scale when shrinking, sampled at the
    centres of the source pixels, normalized to sum to one, and rounded to `BITS` fraction bits.

    Example, bilinear from 4 to 2 pixels, weights times 2**BITS:

        first  [0, 1]
        count  [3, 3]
        table  [[3/7, 3/7, 1/7, ...], [1/7, 3/7, 3/7, ...]]
    """
    scale = n_in / n_out
    stretch = max(scale, 1.0)
    radius = (2.0 if cubic else 1.0) * stretch
    first, count = np.empty(n_out, np.int64), np.empty(n_out, np.int64)
    table = np.zeros((n_out, 2 * int(np.ceil(radius)) + 1), np.int32)
    values = np.empty(table.shape[1])
    for i in range(n_out):
        center = (i + 0.5) * scale
        first[i] = max(int(center - radius + 0.5), 0)
        count[i] = min(int(center + radius + 0.5), n_in) - first[i]
        total = 0.0
        for k in range(count[i]):
            x = abs((first[i] + k - center + 0.5) * (1.0 / stretch))
            values[k] = keys_cubic(x) if cubic else max(1.0 - x, 0.0)
            total += values[k]
        for k in range(count[i]):
            value = values[k] / total * (1 << BITS)
            table[i, k] = int(value + 0.5 if value >= 0 else value - 0.5)
    return first, count, table


@njit
def keys_cubic(x):
    """Returns the cubic convolution kernel of Keys (1981) with a = -0.5, at a distance of x pixels."""
    if x < 1.0:
        return (1.5 * x - 2.5) * x * x + 1.0
    return (((x - 5.0) * x + 8.0) * x - 4.0) * -0.5 if x < 2.0 else 0.0


@njit_cached
def mirror(source, stride, out):
    """Mirrors `source` left to right into `out`."""
    height, width = out.shape[:2]
    for y in range(height):
        row = source[y * stride :]
        for x in range(width):
            for c in range(3):
                out[y, x, c] = row[3 * (width - 1 - x) + c]


@njit_cached
def look_up(images, table, out):
    """Sets out[b, c, y, x] = table[c, images[b, y, x, c]]: bytes (B, H, W, 3) to floats (B, 3, H, W)."""
    n, height, width = images.shape[:3]
    for b in range(n):
        pixels = images[b].reshape(height * width, 3)
        channels = out[b].reshape(3, height * width)
        for c in range(3):
            values, channel = table[c], channels[c]
            for j in range(height * width):
                channel[j] = values[pixels[j, c]]

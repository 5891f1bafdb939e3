"""Pictures for the tests, and digests of corrupted ones. Imports no torch, so that another process is fast."""

import zlib

import numpy as np

from tools.corrupting import catalogue
from tools.corrupting.catalogue import Condition, corrupt


def picture(height=40, width=52, seed=0):
    """A picture with edges, ramps and noise, (H, W, 3) of uint8."""
    rng = np.random.RandomState(seed)
    y, x = np.mgrid[:height, :width]
    channels = [200 * x / width, 200 * y / height, 200 * ((x // 5 + y // 7) % 2)]
    return np.clip(np.stack(channels, -1) + rng.randint(0, 56, (height, width, 3)), 0, 255).astype(np.uint8)


def digests(order):
    """Returns name -> CRC-32 of four corrupted images, computed in this order."""
    crcs = {}
    for name in sorted(catalogue.OWN, reverse=order[0] > 0):
        for i in order:
            pixels = corrupt(picture(30, 34, seed=i), Condition(name, 1 + i), (10, i), seed=2)
            crcs[name, i] = zlib.crc32(pixels.tobytes())
    return sorted(crcs.items())

"""Augmented views of training images by number, so that runs can share their features.

The random numbers of a view depend on the image and the number of the view only: view 3 of an image is the same in
every run, at every seed and number of shots, and with any number of workers.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import random
from typing import NamedTuple

import numpy as np
import torch

from dassl.data.data_manager import DatasetWrapper

from .runs.image_hashes import image_keys


class View(NamedTuple):
    """An image of a Dassl dataset, and the seed of its random numbers."""

    impath: str
    label: int
    domain: int
    seed: int


class Views(DatasetWrapper):
    """Reads and transforms `View`s."""

    def __getitem__(self, idx: int) -> dict:
        with seeded(self.data_source[idx].seed):
            return super().__getitem__(idx)


@contextlib.contextmanager
def seeded(seed: int):
    """Seeds the generators of Python, NumPy and torch's CPU in the block. `seed`: from 0, below 2**32."""
    states = random.getstate(), np.random.get_state(), torch.get_rng_state()
    random.seed(seed)
    np.random.seed(seed)
    torch.default_generator.manual_seed(seed)
    try:
        yield
    finally:
        random.setstate(states[0])
        np.random.set_state(states[1])
        torch.set_rng_state(states[2])


def view_keys(items, n_views: int) -> np.ndarray:
    """Returns a key (uint64) of each view of each image: (n_views, n), or (1, n) of the images themselves for 0 views.

    It is made of the name of the file, its size, its CRC-32, and the number of the view. The folder is no part of it.
    """
    contents = image_keys(list(dict.fromkeys(item.impath for item in items)))
    views = range(n_views) if n_views else [""]
    keys = [[_key(item.impath, contents[item.impath], view) for item in items] for view in views]
    return np.array(keys, dtype=np.uint64).reshape(len(views), len(items))


def _key(path: str, content, view) -> int:
    text = f"{os.path.basename(path)} {content} {view}"
    return int.from_bytes(hashlib.sha256(text.encode(errors="surrogateescape")).digest()[:8], "little")


def views_of(items, keys: np.ndarray) -> list[View]:
    """Returns the views with the given keys (m,) of images (m)."""
    return [View(item.impath, item.label, item.domain, int(key) % 2**32) for item, key in zip(items, keys)]

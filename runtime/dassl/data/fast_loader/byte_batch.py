"""Batches of uint8 images, which workers send instead of float32 images: a quarter of the memory."""

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate
from torchvision import transforms as T

from . import fast_pixels
from .shared_batches import SharedBatches, bytes_at


class Images(list):
    """Items of a dataset. The last two transforms, `tail`, are still to be applied to their "img"."""

    def __init__(self, items, tail: list):
        super().__init__(items)
        self.tail = tail


def split_transform(transform) -> tuple[T.Compose, list] | None:
    """Splits a transform into (all but the last two, [ToTensor, Normalize]); None if it does not end in these."""
    steps = transform.transforms if type(transform) is T.Compose else []
    if [type(step) for step in steps[-2:]] != [T.ToTensor, T.Normalize]:
        return None
    return T.Compose(steps[:-2]), steps[-2:]


def collate(items, slots: SharedBatches | None = None):
    """Collates items into a batch: as torch does for a list, into a ByteBatch for `Images`.

    A worker process writes the pixels into one of its `slots`, if they fit. Images that are not RGB images of one size
    get their remaining transforms here and are collated as torch does.
    """
    if not isinstance(items, Images):
        return default_collate(items)
    images = [as_bytes(item["img"]) for item in items]
    if any(image is None or image.shape != images[0].shape for image in images):
        tail = T.Compose(items.tail)
        return default_collate([{**item, "img": tail(item["img"])} for item in items])
    shape = (len(images), *images[0].shape)
    slot = None if slots is None else slots.take(shape)
    out = np.empty(shape, np.uint8) if slot is None else bytes_at(slot)
    pixels = np.stack(images, out=out)
    rest = default_collate([{key: value for key, value in item.items() if key != "img"} for item in items])
    return ByteBatch(pixels, rest, items.tail[-1], slot)


def as_bytes(image) -> np.ndarray | None:
    """Returns the pixels of an RGB image, (H, W, 3) uint8; None for anything else that a transform returned."""
    if not isinstance(image, Image.Image) or image.mode != "RGB":
        return None
    pixels = getattr(image, "pixels", None)  # of a StoredImage
    return np.asarray(image) if pixels is None else pixels


class ByteBatch:
    """A batch whose images are still uint8, (B, H, W, 3).

    Args:
        pixels: the images.
        rest: the collated items without "img".
        normalize: the transform that `finish` applies after ToTensor.
        slot: where in shared memory the pixels are; pickling then sends this address instead of the pixels.
    """

    def __init__(self, pixels: np.ndarray, rest: dict, normalize: T.Normalize, slot: tuple | None = None):
        self.pixels = pixels
        self.normalize = normalize
        self.slot = slot
        # Labels and other tensors are sent as NumPy arrays: sending a tensor opens a file per tensor.
        self.rest = {key: x.numpy() if isinstance(x, torch.Tensor) and x.dim() == 1 else x for key, x in rest.items()}

    def __getstate__(self) -> dict:
        return self.__dict__ if self.slot is None else {**self.__dict__, "pixels": None}

    def finish(self, pin: bool = False) -> dict:
        """Returns the batch with "img" as float32, (B, 3, H, W), bit for bit as ToTensor and Normalize compute it.

        Runs on one core: torch would use all of them and wait for the worker processes.
        """
        pixels = self.pixels if self.pixels is not None else bytes_at(self.slot)
        n, height, width = pixels.shape[:3]
        image = torch.empty((n, 3, height, width), dtype=torch.float32, pin_memory=pin)
        mean, std = (np.asarray(x, np.float32).reshape(-1, 1, 1) for x in (self.normalize.mean, self.normalize.std))
        if fast_pixels.loops is not None:
            table = np.empty((3, 1, 256), np.float32)  # per channel, the normalized value of each byte
            normalize_into(np.arange(256, dtype=np.uint8), mean, std, table)
            fast_pixels.loops.look_up(pixels, table[:, 0], image.numpy())
        else:
            for single, out in zip(pixels, image.numpy(), strict=True):
                normalize_into(single.transpose(2, 0, 1), mean, std, out)
        rest = {key: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for key, x in self.rest.items()}
        return {"img": image, **rest}

    def pin_memory(self, *args) -> dict:
        """Returns the finished batch in page-locked memory; torch's pin-memory thread calls this."""
        batch = self.finish(pin=True)
        return {key: x.pin_memory() if isinstance(x, torch.Tensor) else x for key, x in batch.items()}


def normalize_into(pixels: np.ndarray, mean: np.ndarray, std: np.ndarray, out: np.ndarray) -> None:
    """Writes (pixels / 255 - mean) / std to `out` in float32, in the order of operations that torch uses."""
    np.divide(pixels, np.float32(255), out=out, dtype=np.float32)
    np.subtract(out, mean, out=out)
    np.divide(out, std, out=out)

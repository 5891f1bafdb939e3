"""Batches on their way from a worker process: a quarter of the memory, and the arithmetic done once a batch."""

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate
from torchvision import transforms as T

from . import fast_pixels
from .shared_batches import SharedBatches, bytes_at


class Images(list):
    """Items of a dataset whose "img" lacks the last two steps of its transform, `tail`."""

    def __init__(self, items, tail: list):
        super().__init__(items)
        self.tail = tail


def split_transform(transform) -> tuple[T.Compose, list] | None:
    """A transform without the ToTensor and Normalize that it ends in, and these two; None if it ends otherwise."""
    steps = transform.transforms if type(transform) is T.Compose else []
    if [type(step) for step in steps[-2:]] != [T.ToTensor, T.Normalize]:
        return None
    return T.Compose(steps[:-2]), steps[-2:]


def collate(items, slots: SharedBatches | None = None):
    """A batch from a list of items, as torch makes it, or a ByteBatch from `Images`, in a worker process in `slots`."""
    if not isinstance(items, Images):
        return default_collate(items)
    images = [as_bytes(item["img"]) for item in items]
    if any(image is None or image.shape != images[0].shape for image in images):
        tail = T.Compose(items.tail)
        return default_collate([{**item, "img": tail(item["img"])} for item in items])
    shape = (len(images), *images[0].shape)
    place = slots and slots.take(shape)
    pixels = np.stack(images, out=bytes_at(place) if place else np.empty(shape, np.uint8))
    rest = default_collate([{key: value for key, value in item.items() if key != "img"} for item in items])
    return ByteBatch(pixels, rest, items.tail[-1], place)


def as_bytes(image) -> np.ndarray | None:
    """An RGB image as bytes (H, W, 3); None for what is not one, which a transform may give."""
    if not isinstance(image, Image.Image) or image.mode != "RGB":
        return None
    pixels = getattr(image, "pixels", None)  # of a StoredImage
    return np.asarray(image) if pixels is None else pixels


class ByteBatch:
    """A batch whose "img" is still bytes (B, H, W, 3)."""

    def __init__(self, pixels: np.ndarray, rest: dict, normalize: T.Normalize, place: tuple | None = None):
        self.pixels, self.normalize, self.place = pixels, normalize, place
        # A number an image, such as labels, travels as an array: for a tensor processes pass an open file.
        self.rest = {key: x.numpy() if isinstance(x, torch.Tensor) and x.dim() == 1 else x for key, x in rest.items()}

    def __getstate__(self) -> dict:
        return {**self.__dict__, "pixels": None} if self.place else self.__dict__

    def finish(self, pin: bool = False) -> dict:
        """The batch, "img" being float32 (B, 3, H, W): exactly what ToTensor and Normalize make of each image.

        It is done on one core; torch would wait for cores that the workers use.
        """
        pixels = self.pixels if self.pixels is not None else bytes_at(self.place)
        n, height, width = pixels.shape[:3]
        image = torch.empty((n, 3, height, width), dtype=torch.float32, pin_memory=pin)
        mean, std = (np.asarray(x, np.float32).reshape(-1, 1, 1) for x in (self.normalize.mean, self.normalize.std))
        if fast_pixels.loops is not None:
            table = np.empty((3, 1, 256), np.float32)  # of what each byte becomes
            normalized(np.arange(256, dtype=np.uint8), mean, std, table)
            fast_pixels.loops.look_up(pixels, table[:, 0], image.numpy())
        else:
            for one, out in zip(pixels, image.numpy(), strict=True):
                normalized(one.transpose(2, 0, 1), mean, std, out)
        rest = {key: torch.from_numpy(x) if isinstance(x, np.ndarray) else x for key, x in self.rest.items()}
        return {"img": image, **rest}

    def pin_memory(self, *args) -> dict:
        """The finished batch in page-locked memory; called by torch's thread for that."""
        batch = self.finish(pin=True)
        return {key: x.pin_memory() if isinstance(x, torch.Tensor) else x for key, x in batch.items()}


def normalized(pixels: np.ndarray, mean: np.ndarray, std: np.ndarray, out: np.ndarray) -> None:
    np.divide(pixels, np.float32(255), out=out, dtype=np.float32)
    np.subtract(out, mean, out=out)
    np.divide(out, std, out=out)

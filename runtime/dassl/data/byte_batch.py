"""Batches on their way from a worker process: a quarter of the memory, and the arithmetic done once a batch."""

import numpy as np
import torch
from PIL import Image
from torch.utils.data import default_collate
from torchvision import transforms as T


class Images(list):
    """Items of a dataset whose "img" lacks the last two steps of its transform, `tail`."""

    def __init__(self, items, tail: list):
        super().__init__(items)
        self.tail = tail


def split_transform(transform) -> tuple[T.Compose, list] | None:
    """A transform without the ToTensor and Normalize that it ends in, and these two; None if it ends otherwise."""
    steps = transform.transforms if type(transform) is T.Compose else []
    to_float, normalize = map(type, ([None] * 2 + steps)[-2:])
    if to_float not in (T.ToTensor, T.ConvertImageDtype) or normalize is not T.Normalize:
        return None
    return T.Compose(steps[:-2]), steps[-2:]


def collate(items):
    """A batch from a list of items, as torch makes it, or a ByteBatch from `Images`."""
    if not isinstance(items, Images):
        return default_collate(items)
    images = [as_bytes(item["img"]) for item in items]
    if any(image is None or image.shape != images[0].shape for image in images):
        tail = T.Compose(items.tail)
        return default_collate([{**item, "img": tail(item["img"])} for item in items])
    for item in items:
        del item["img"]
    pixels = torch.empty(len(images), *images[0].shape, dtype=torch.uint8)
    for out, image in zip(pixels, images, strict=True):
        out.copy_(image)
    return ByteBatch(pixels, default_collate(items), items.tail[-1])


def as_bytes(image) -> torch.Tensor | None:
    """An image of three channels as bytes (3, H, W); None for what is not one, which a transform may give."""
    if isinstance(image, Image.Image) and image.mode == "RGB":
        return torch.from_numpy(np.array(image)).permute(2, 0, 1)
    if isinstance(image, torch.Tensor) and image.dtype == torch.uint8 and image.shape[:-2] == (3,):
        return image
    return None


class ByteBatch:
    """A batch whose "img" is still bytes (B, 3, H, W)."""

    def __init__(self, pixels: torch.Tensor, rest: dict, normalize: T.Normalize):
        self.pixels, self.rest, self.normalize = pixels, rest, normalize

    def finish(self, pin: bool = False) -> dict:
        """The batch, "img" being float32: exactly what ToTensor and Normalize make of each image.

        NumPy does it on one core; torch would wait for cores that the workers use.
        """
        image = torch.empty(self.pixels.shape, dtype=torch.float32, pin_memory=pin)
        mean, std = (np.asarray(x, np.float32).reshape(-1, 1, 1) for x in (self.normalize.mean, self.normalize.std))
        for pixels, out in zip(self.pixels.numpy(), image.numpy(), strict=True):
            np.divide(pixels, np.float32(255), out=out, dtype=np.float32)
            np.subtract(out, mean, out=out)
            np.divide(out, std, out=out)
        return {"img": image, **self.rest}

    def pin_memory(self, *args) -> dict:
        """The finished batch in page-locked memory; called by torch's thread for that."""
        batch = self.finish(pin=True)
        return {key: x.pin_memory() if isinstance(x, torch.Tensor) else x for key, x in batch.items()}

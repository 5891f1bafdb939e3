"""The test images of runs: decoded, resized and cropped once, then corrupted once for all runs, in worker processes."""

import os
import shutil
import zlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.utils.data import Dataset
from torchvision import transforms as T
from tqdm import tqdm

from dassl.data.data_manager import build_data_loader
from dassl.data.fast_loader import fast_pixels
from dassl.data.fast_loader.byte_batch import Images, as_bytes, split_transform
from dassl.data.fast_loader.loader import Loader
from datasets.imagenet_c import ImageNetC
from trainers.common.compat import read_rgb
from trainers.common.runs.digest import digest
from trainers.common.runs.image_hashes import image_keys

from .catalogue import ALL, Condition, corrupt

FREE_BYTES = 1 << 30  # that the file of pixels must leave on the disk


@dataclass(frozen=True)
class TestImages:
    """Attributes:
    items: n images of a Dassl dataset.
    folder: corrupted images as in ImageNet-C, <corruption>/<severity>/<class>/<file>; "": they are computed.
    seed: of the corruptions.
    """

    items: list
    seed: int
    folder: str = ""

    def __post_init__(self):
        keys = image_keys([item.impath for item in self.items])
        object.__setattr__(self, "keys", [keys[item.impath] for item in self.items])
        object.__setattr__(self, "labels", np.array([item.label for item in self.items]))

    def __len__(self) -> int:
        return len(self.items)

    @property
    def content(self) -> str:
        """A digest of the content and the labels of the images, in their order."""
        return digest([f"{key} {label}" for key, label in zip(self.keys, self.labels.tolist(), strict=True)])

    def in_folder(self, condition: Condition) -> bool:
        """Whether the images of a condition are in `folder`: corruptions are, sweeps are always computed."""
        return bool(self.folder) and condition.name in ALL

    def path(self, i: int, condition: Condition) -> str:
        """Returns the file of image i in a condition, in `folder`."""
        own = Path(self.items[i].impath).parts[-2:]  # class folder and file
        return os.path.join(self.folder, condition.name, str(condition.level), *own)

    def paths(self, condition: Condition) -> list[str]:
        return [self.path(i, condition) for i in range(len(self))]

    def check_folder(self, conditions: list[Condition]) -> None:
        """Raises FileNotFoundError if `folder` lacks an image in a condition."""
        for condition in filter(self.in_folder, conditions):
            paths = self.paths(condition)
            missing = [path for path in paths if not os.path.isfile(path)]
            if missing:
                raise FileNotFoundError(
                    f"--corrupted-images {self.folder}: {len(missing):,} of {len(paths):,} images of {condition} are "
                    f"missing, first {missing[0]}: they are <corruption>/<severity>/<class folder>/<file>, with the "
                    "names of the test images; --corruptions and --severities select others"
                )

    def source(self, condition: Condition) -> dict:
        """Returns the digest of the files of a condition in `folder`; {} if its pixels are computed."""
        if not self.in_folder(condition):
            return {}
        paths = self.paths(condition)
        keys = image_keys(paths)
        return {"files": digest([str(keys[path]) for path in paths])}


def find_folder(text: str, root: str) -> str:
    """Returns the folder that --corrupted-images names: a folder, or the dataset imagenet_c in `root`; "" for "".

    Raises FileNotFoundError if there is no such folder.
    """
    if not text:
        return ""
    folder = os.path.join(root, ImageNetC.dataset_dir) if text == "imagenet_c" and not os.path.isdir(text) else text
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"--corrupted-images {text}: there is no folder {folder}")
    return folder


def split(transform) -> tuple[T.Compose, list]:
    """Splits a transform into (what makes 8-bit pixels, what makes the input tensor of them).

    Raises ValueError if there is no transform.
    """
    steps = transform.transforms if transform is not None else []
    place = next((i for i, step in enumerate(steps) if isinstance(step, T.ToTensor)), None)
    if place is None:
        raise ValueError("INPUT.NO_TRANSFORM True: the images have no common size: evaluate a run without it")
    return T.Compose(steps[:place]), steps[place:]


class Pixels:
    """Makes an array (H, W, 3) of uint8 of a PIL image, as the last step of a transform."""

    def __call__(self, image) -> torch.Tensor:
        return torch.from_numpy(np.array(as_bytes(image)))


def write_pixels(path: str, cfg, images: TestImages, transform: T.Compose) -> None:
    """Decodes, resizes and crops all images and writes them to `path`, an array (n, H, W, 3) of uint8.

    The file has its name once it is complete.

    Raises OSError if the disk is too small or an image cannot be read.
    """
    shape = (len(images), *cfg.INPUT.SIZE, 3)
    needed = int(np.prod(shape))
    os.makedirs(os.path.dirname(path), exist_ok=True)
    free = shutil.disk_usage(os.path.dirname(path)).free
    if free < needed + FREE_BYTES:
        raise OSError(
            f"the decoded images need {needed / 1e9:.1f} GB in {os.path.dirname(path)}, which has {free / 1e9:.1f} GB "
            "free: give another --out, or fewer --images"
        )
    steps = T.Compose([*transform.transforms, Pixels()])
    loader = build_data_loader(
        cfg, data_source=images.items, batch_size=cfg.DATALOADER.TEST.BATCH_SIZE, tfm=steps, is_train=False, once=True
    )
    temporary = f"{path}.tmp"
    with open(temporary, "wb") as file:
        header = {"descr": "|u1", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        for batch in tqdm(loader, desc="decoding", unit="batch", leave=False, disable=None):
            file.write(batch["img"].numpy().tobytes())
    os.replace(temporary, path)


class ImagesInConditions(Dataset):
    """All images in all conditions: item j * n + i is image i in condition j.

    Args:
        conditions: those to go through.
        pixels: file of `write_pixels`, which each process opens for itself.
        transform: the transform of the evaluation; see `split`.
        input_options: cfg.INPUT, for reading files.
    """

    def __init__(self, images: TestImages, conditions: list[Condition], pixels: str, transform, input_options):
        self.images = images
        self.conditions = conditions
        self.pixels_file = pixels
        self.input_options = input_options
        self.to_pixels, self.tail = split(transform)
        self.per_batch = split_transform(transform) is not None  # else ToTensor and the rest are done per image
        self._opened = None

    def __len__(self) -> int:
        return len(self.conditions) * len(self.images)

    def __getitem__(self, index: int) -> dict:
        """Returns {"img": PIL image or tensor, "index": index, "crc": CRC-32 of its pixels}."""
        number, i = divmod(index, len(self.images))
        condition = self.conditions[number]
        if self.images.in_folder(condition):
            path = self.images.path(i, condition)
            pixels = np.array(as_bytes(self.to_pixels(read_rgb(path, self.input_options))))
        else:
            pixels = corrupt(self._pixels(i), condition, self.images.keys[i], self.images.seed)
        image = Image.fromarray(pixels)
        if not self.per_batch:
            image = T.Compose(self.tail)(image)
        return {"img": image, "index": index, "crc": zlib.crc32(pixels.tobytes())}

    def __getitems__(self, indices: list[int]):
        items = [self[index] for index in indices]
        return Images(items, tail=self.tail) if self.per_batch else items

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_opened": None}

    def _pixels(self, i: int) -> np.ndarray:
        if self._opened is None:
            self._opened = np.load(self.pixels_file, mmap_mode="r")
        return np.array(self._opened[i])

    def loader(self, batch_size: int, workers: int) -> Loader:
        """Returns a loader of all items in their order."""
        size = self.input_options.SIZE
        fast_pixels.prepare(size)
        return Loader(
            self,
            num_workers=workers,
            batch_bytes=3 * size[0] * size[1] * batch_size,
            batch_size=batch_size,
            sampler=range(len(self)),
            drop_last=False,
        )

"""Images with captions, for retrieval and for training on pairs.

`load("captions.csv")` returns `Captions` by split. The sources are a bundled dataset (`glyph_captions`), Karpathy's
JSON files of Flickr30k and COCO, and a CSV file; see `caption_files`.

`Captions` is flat, so that features of images and of captions are matrices, and `image_index` relates their rows:

    images       ["a.jpg", "b.jpg"]
    captions     ["a dog", "a dog on grass", "a cat"]
    image_index  [0, 0, 1]
"""

import hashlib
import json
import os
from collections import Counter
from typing import NamedTuple

from trainers.common.runs.image_hashes import image_keys

from .caption_files import UNSPLIT, Row, read_rows
from .glyph_captions import NAME as GLYPHS
from .glyph_captions import write_dataset
from .splits import Item, check_images

SPLITS = ("train", "val", "test")
IMAGE_FOLDERS = ("", "images", "Images", "flickr30k-images", "flickr30k_images")  # next to the file of the captions


class Captions(NamedTuple):
    """n images and their m captions.

    Attributes:
        images: n paths. An image may have any number of captions, also none.
        captions: m texts. Images may share a caption.
        image_index: m rows of `images`, in ascending order: the captions of an image are in one place.
    """

    images: list[str]
    captions: list[str]
    image_index: list[int]

    def of_images(self) -> list[list[str]]:
        """Returns the captions of each image."""
        own = [[] for _ in self.images]
        for caption, index in zip(self.captions, self.image_index, strict=True):
            own[index].append(caption)
        return own

    def first(self, count: int) -> "Captions":
        """Returns the images with no more than their first `count` captions."""
        captions = [own[:count] for own in self.of_images()]
        return build(self.images, captions)

    def content(self) -> dict:
        """Returns {"images": n, "captions": m, "digest": 32 hex digits}.

        The digest depends on the content of the images and on the captions of each, not on paths and order.
        """
        keys = image_keys(self.images)
        captions = self.of_images()
        lines = [json.dumps([keys[path], sorted(own)]) for path, own in zip(self.images, captions, strict=True)]
        digest = hashlib.sha256("\n".join(sorted(lines)).encode()).hexdigest()[:32]
        return {"images": len(self.images), "captions": len(self.captions), "digest": digest}

    def describe(self) -> str:
        """Returns "1,000 images, 5,000 captions (5 per image)", and what is unusual about them."""
        numbers = Counter(self.image_index)
        least, most = min((numbers[i] for i in range(len(self.images))), default=0), max(numbers.values(), default=0)
        per_image = f"{least}" if least == most else f"{least} to {most}"
        text = f"{len(self.images):,} images, {len(self.captions):,} captions ({per_image} per image)"
        shared = len(self.captions) - len(set(self.captions))
        without = len(self.images) - len(numbers)
        text += f"; {shared:,} captions repeat another one" if shared else ""
        return text + (f"; {without:,} images have no caption" if without else "")


def build(images: list[str], captions: list[list[str]]) -> Captions:
    """Returns `Captions`, given the captions of each image."""
    index = [i for i, own in enumerate(captions) for _ in own]
    return Captions(images, [caption for own in captions for caption in own], index)


def load(source: str, images: str = "", root: str = "") -> dict[str, Captions]:
    """Returns the captions by split: "train", "val" and "test" as far as there are any, or only "all".

    Karpathy's "restval" belongs to "train", as in the literature. Captions are not changed, except for white space at
    their ends.

    Args:
        source: "glyph_captions", or the path of a JSON or CSV file.
        images: folder that the paths of the images are relative to. Default: the folder of the file, or one of
            IMAGE_FOLDERS in it.
        root: folder with the bundled datasets (default: data).

    Raises:
        FileNotFoundError, ValueError: the file is missing or invalid, or an image is missing.
    """
    if source == GLYPHS:
        source = write_dataset(root or "data")
    rows = read_rows(source)
    folder = images or find_folder(source, rows)
    if not os.path.isdir(folder):
        raise FileNotFoundError(f"missing folder {folder} with the images of {source}: pass --images")
    check_images([Item(row.image, 0, "") for row in rows], folder, source)
    return by_split(rows, folder, source)


def find_folder(source: str, rows: list[Row]) -> str:
    """Returns the folder of IMAGE_FOLDERS that has the first image; that of the file if none has it."""
    parent = os.path.dirname(os.path.abspath(source))
    found = [os.path.join(parent, name) for name in IMAGE_FOLDERS]
    return next((folder for folder in found if rows and os.path.isfile(os.path.join(folder, rows[0].image))), parent)


def by_split(rows: list[Row], folder: str, source: str) -> dict[str, Captions]:
    """Groups rows by split and image, in the order of their first rows.

    Raises:
        ValueError: an image is in two splits, or there are none.
    """
    images = {}  # image -> (split, captions)
    for row in rows:
        split, captions = images.setdefault(row.image, (row.split, []))
        if split != row.split:
            raise ValueError(f"{source}: image {row.image} is in two splits, {split} and {row.split}")
        captions += row.captions
    splits = {}
    for split in (*SPLITS, UNSPLIT):
        own = {image: captions for image, (part, captions) in images.items() if part == split}
        if own:
            splits[split] = build([os.path.join(folder, image) for image in own], list(own.values()))
    if not splits:
        raise ValueError(f"{source} has no images")
    return splits


def choose(splits: dict[str, Captions], split: str, source: str) -> Captions:
    """Returns the captions of a split, or all if the file has no splits. Raises ValueError if it is empty."""
    if split not in SPLITS:
        raise ValueError(f"the split must be one of {', '.join(SPLITS)}, got {split!r}")
    chosen = splits.get(UNSPLIT) or splits.get(split)
    if chosen is None:
        raise ValueError(f"{source} has no images in the split {split}, only in {', '.join(splits)}")
    if not chosen.captions:
        raise ValueError(f"{source}: the images of the split {split} have no captions")
    return chosen

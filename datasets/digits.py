"""Digits: the 1,797 handwritten digits that come with scikit-learn (from UCI's "Optical Recognition" set).

The first run writes them as 8x8 greyscale PNG files in CoOp's folder layout. The transforms resize them.
"""

import glob
import os
import random
import shutil
import tempfile

from PIL import Image

from dassl.data.datasets import DATASET_REGISTRY

from .base import FewShotDataset
from .image_folders import list_images
from .random_splits import split_three
from .splits import Item, remove_leftovers

CLASSNAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def write_images(folder):
    """Writes the images as `folder/<class>/digit_<index>.png`, atomically: the folder is complete or does not exist."""
    state = random.getstate()
    from sklearn.datasets import load_digits  # the first import uses Python's global generator

    random.setstate(state)
    parent = os.path.dirname(folder)
    os.makedirs(parent, exist_ok=True)
    digits = load_digits()
    pixels = (digits.images * 255 / 16).round().astype("uint8")  # (1797, 8, 8), pixel values 0 to 16
    remove_leftovers(os.path.join(glob.escape(parent), ".images-*"))
    temporary = tempfile.mkdtemp(prefix=".images-", dir=parent)
    try:
        built = os.path.join(temporary, "images")
        for name in CLASSNAMES:
            os.makedirs(os.path.join(built, name))
        for index, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
            Image.fromarray(image).save(os.path.join(built, CLASSNAMES[label], f"digit_{index:04d}.png"))
        try:
            os.rename(built, folder)
            print(f"Wrote {len(pixels):,} images to {folder}")
        except OSError:
            if not os.path.isdir(folder):  # otherwise another process has written the images
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


@DATASET_REGISTRY.register()
class Digits(FewShotDataset):
    dataset_dir = "digits"
    image_dir = "images"
    split_file = "split_zhou_Digits.json"
    default_root = "data"
    template = "a photo of the number {}."
    counts = (10, 898, 359, 540)

    def prepare(self):
        if os.path.isdir(self.image_dir):
            return
        try:
            write_images(self.image_dir)
        except OSError as error:
            raise type(error)(
                f"could not write the digits to {self.image_dir} ({error.strerror}): pass a writable folder as --root"
            ) from None

    def read_data(self):
        items = []
        for label, name in enumerate(CLASSNAMES):
            images = list_images(os.path.join(self.image_dir, name))
            items += [Item(f"{name}/{image}", label, name) for image in images]
        return split_three(items)

    def remedy(self):
        return f"Delete {self.dataset_dir}; the next run writes it again"

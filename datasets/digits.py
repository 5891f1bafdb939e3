"""Digits: the 1,797 handwritten digits that come with scikit-learn (from UCI's "Optical Recognition" set).

The first run writes them as 8x8 greyscale PNG files in CoOp's folder layout. The transforms resize them.
`DigitsVariant` is the base class of their distribution shifts, which are for testing only.
"""

import random

from PIL import Image

from dassl.data.datasets import DATASET_REGISTRY

from .bundled import BundledDataset
from .random_splits import split_three
from .splits import Item

CLASSNAMES = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")


def load_images():
    """Returns a dict from `Item` to image (8x8 greyscale) of all digits, in scikit-learn's order."""
    from sklearn.datasets import load_digits

    digits = load_digits()
    pixels = (digits.images * 255 / 16).round().astype("uint8")  # (1797, 8, 8), pixel values 0 to 16
    images = {}
    for index, (image, label) in enumerate(zip(pixels, digits.target, strict=True)):
        name = CLASSNAMES[label]
        images[Item(f"{name}/digit_{index:04d}.png", int(label), name)] = Image.fromarray(image)
    return images


@DATASET_REGISTRY.register()
class Digits(BundledDataset):
    dataset_dir = "digits"
    split_file = "split_zhou_Digits.json"
    template = "a photo of the number {}."
    class_folders = CLASSNAMES
    counts = (10, 898, 359, 540)

    def images(self):
        return load_images()


class DigitsVariant(BundledDataset):
    """A distribution shift of the digits: their test images, corrupted. Each keeps the name of its original."""

    template = Digits.template
    class_folders = CLASSNAMES
    counts = (10, None, None, 540)
    variant_of = "Digits"
    test_only = True

    def corrupt(self, image, rng):
        """Returns the corrupted image. Takes all random numbers from `rng`."""
        raise NotImplementedError

    def images(self):
        originals = load_images()
        test = split_three(list(originals)).test
        return {item: self.corrupt(originals[item], random.Random(item.path)) for item in test}

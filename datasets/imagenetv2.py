"""ImageNetV2, matched frequency: 10,000 new test images for ImageNet (Recht et al., 2019).

There are two other test sets, which are easier: `imagenetv2_threshold` and `imagenetv2_top`.
"""

import os

from dassl.data.datasets import DATASET_REGISTRY

from .image_folders import list_folders, list_images
from .imagenet import ImageNetVariant, read_classnames
from .splits import Item, Split


@DATASET_REGISTRY.register()
class ImageNetV2(ImageNetVariant):
    dataset_dir = "imagenetv2"
    image_dir = "imagenetv2-matched-frequency-format-val"
    counts = (1_000, None, None, 10_000)
    variant_order = 1

    def read_data(self):
        """The class folders are named by label: 0, 1, ..., in the order of `classnames.txt`."""
        items = []
        names = list(read_classnames(self.dataset_dir).values())
        unnamed = [name for name in list_folders(self.image_dir) if name.isdigit() and int(name) >= len(names)]
        if unnamed:
            raise ValueError(f"missing class name of folder {unnamed[0]} in {self.dataset_dir}/classnames.txt")
        for label, name in enumerate(names):
            images = list_images(os.path.join(self.image_dir, str(label)))
            items += [Item(f"{label}/{image}", label, name) for image in images]
        return Split(items, [], items)

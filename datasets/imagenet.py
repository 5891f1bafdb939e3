"""ImageNet: 1,000 classes (Deng et al., 2009); its validation images are the test images.

`ShiftedImageNet` is what the variants share that are for testing only.
"""

import os

from dassl.data.datasets import DATASET_REGISTRY

from .annotation_files import read_lines
from .base import FewShotDataset
from .fewshot_cache import read_pickle
from .image_folders import folder_items, list_folders
from .splits import Split


def read_classnames(folder):
    """Dict from class folder to class name, of lines `n01440764 tench` in `classnames.txt`."""
    return dict(line.split(" ", 1) for line in read_lines(folder, "classnames.txt"))


def named_items(dataset_dir, image_dir, under=""):
    """`Item`s of one folder per class with names from `classnames.txt`. ValueError for a folder without a name."""
    classnames = read_classnames(dataset_dir)
    unnamed = [name for name in list_folders(os.path.join(image_dir, under)) if name not in classnames]
    if unnamed:
        raise ValueError(f"{dataset_dir}/classnames.txt has no name for the folder {unnamed[0]}")
    return folder_items(image_dir, classnames=classnames, under=under)


@DATASET_REGISTRY.register()
class ImageNet(FewShotDataset):
    """No validation split: CoOp uses the test images, on which nothing should be chosen."""

    dataset_dir = "imagenet"
    image_dir = "images"
    counts = (1_000, 1_281_167, 0, 50_000)
    paper_order = 1

    def read_data(self):
        listed = os.path.join(self.dataset_dir, "preprocessed.pkl")
        if os.path.exists(listed):  # CoOp's list, in the file system's order, which few-shot sampling depends on
            print(f"Reading the list of images from {listed}")
            data = read_pickle(listed, self.image_dir, self.marker)
            return Split(data["train"], [], data["test"])
        train, test = (named_items(self.dataset_dir, self.image_dir, part) for part in ("train", "val"))
        return Split(train, [], test)


class ShiftedImageNet(FewShotDataset):
    """A variant for testing: train holds the test images too, for their class names, and is never sampled."""

    variant_of = "ImageNet"

    def read_data(self):
        items = named_items(self.dataset_dir, self.image_dir)
        return Split(items, [], items)

    def take_shots(self, split, shots, seed):
        print(f"{self.name} is for testing only: its train images are its test images")
        return split

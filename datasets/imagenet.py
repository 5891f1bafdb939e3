"""ImageNet: 1,000 classes (Deng et al., 2009); its validation images are the test images.

`ImageNetVariant` is the base class of its variants, the distribution shifts, which are for testing only.
"""

import os

from dassl.data.datasets import DATASET_REGISTRY

from .annotation_files import read_lines
from .base import FewShotDataset
from .fewshot_cache import read_pickle
from .image_folders import folder_items, list_folders
from .splits import Split


def read_classnames(folder):
    """Returns a dict from class folder to class name, sorted by folder, as ImageNet's labels are.

    Lines of `classnames.txt` are `n01440764 tench`. Raises ValueError if a folder has two lines.
    """
    rows = [line.split(" ", 1) for line in read_lines(folder, "classnames.txt")]
    names = dict(sorted(rows))
    if len(names) < len(rows):
        raise ValueError(f"{folder}/classnames.txt has {len(rows)} lines for {len(names)} folders: remove duplicates")
    return names


def named_items(dataset_dir, image_dir, parts=("",)):
    """Returns the `Item`s of each part, a sub-folder of `image_dir` with one folder per class.

    The class folders of all parts are numbered together, so that one that is missing in a part shifts no label.
    Raises ValueError if `classnames.txt` does not name a folder.
    """
    classnames = read_classnames(dataset_dir)
    folders = sorted({name for part in parts for name in list_folders(os.path.join(image_dir, part))})
    unnamed = [name for name in folders if name not in classnames]
    if unnamed:
        raise ValueError(f"missing class name of folder {unnamed[0]} in {dataset_dir}/classnames.txt")
    return [folder_items(image_dir, classnames=classnames, under=part, numbering=folders) for part in parts]


@DATASET_REGISTRY.register()
class ImageNet(FewShotDataset):
    """Without a validation split: CoOp's is the test split, which must not be used for model selection."""

    dataset_dir = "imagenet"
    image_dir = "images"
    counts = (1_000, 1_281_167, 0, 50_000)
    paper_order = 1

    def read_data(self):
        image_list = os.path.join(self.dataset_dir, "preprocessed.pkl")
        # CoOp lists the images in the order of the file system, and few-shot sampling depends on that order.
        if os.path.exists(image_list):
            print(f"Reading the list of images from {image_list}")
            data = read_pickle(image_list, self.image_dir, self.image_subpath)
            return Split(data["train"], [], data["test"])
        train, test = named_items(self.dataset_dir, self.image_dir, ("train", "val"))
        return Split(train, [], test)


class ImageNetVariant(FewShotDataset):
    """A distribution shift of ImageNet, for testing only. Its train split is the test split and is never sampled."""

    variant_of = "ImageNet"
    test_only = True

    def read_data(self):
        (items,) = named_items(self.dataset_dir, self.image_dir)
        return Split(items, [], items)

    def take_shots(self, split, shots, seed):
        print(f"{self.name} is for testing only: its train images are its test images")
        return split

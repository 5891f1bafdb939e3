"""Folder: your own images. DATASET.ROOT (`--root`) is their folder, in one of three layouts.

1. One folder per class: `cat/1.jpg dog/2.jpg`. Each class is split by a fixed rule: 50 % train, 20 % val, 30 % test.
2. `train/ val/ test/`, each with one folder per class. `val/` is optional. Without `test/`, `val/` is the test set.
3. A list of images, DATASET.FOLDER.LIST: see `folder_lists`.

Images must be directly in their class folder. No file is written: splits and few-shot selections are computed from the
images' names and the seed in every run.
"""

import os

from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.data.datasets import DATASET_REGISTRY

from .base import FewShotDataset
from .folder_lists import read_list, read_names
from .image_folders import list_folders, list_images
from .random_splits import split_three
from .splits import Item, Split

cfg_default.DATASET.FOLDER = CN()
cfg_default.DATASET.FOLDER.NAME = ""  # name of the dataset in reports and output paths; "": the folder's name
cfg_default.DATASET.FOLDER.LIST = ""  # CSV or JSON of images and their classes, relative to DATASET.ROOT
cfg_default.DATASET.FOLDER.CLASSNAMES = ""  # CSV or JSON of folders and class names, relative to DATASET.ROOT

VAL_NAMES = ("val", "valid", "validation")


@DATASET_REGISTRY.register()
class Folder(FewShotDataset):
    """The user's own images. Classes are sorted by folder name, or by class name if there is a list."""

    dataset_dir = ""
    image_dir = ""
    keep_selection = False
    options = cfg_default.DATASET.FOLDER

    def __init__(self, cfg):
        self.options = cfg.DATASET.FOLDER
        super().__init__(cfg)

    def remedy(self):
        return "See docs/datasets.md for the layouts of your own images"

    def read_data(self):
        names = {}
        if self.options.CLASSNAMES:
            names = read_names(os.path.join(self.root, self.options.CLASSNAMES))
        if self.options.LIST:
            rows = read_list(os.path.join(self.root, self.options.LIST))
        elif "train" in list_folders(self.root) and self.split_folders():
            rows = {split: self.list_class_folders(folder) for split, folder in self.split_folders().items()}
        else:
            rows = {"all": self.list_class_folders("")}
        return self.make_split(rows, names)

    def read_split(self):
        split, generated_by, _ = super().read_split()
        return split, generated_by, self.options.LIST or self.root

    def split_folders(self):
        """Returns the folder of each split; an empty dict if the layout is not `train/ val/ test/`."""
        folders = list_folders(self.root)
        val = next((name for name in VAL_NAMES if name in folders), "")
        if "test" in folders:
            return {"train": "train", "test": "test", **({"val": val} if val else {})}
        return {"train": "train", "test": val} if val else {}

    def list_class_folders(self, parent):
        """Returns `(path, class)` of each image in the class folders below `parent`."""
        rows = []
        for folder in list_folders(os.path.join(self.root, parent)):
            images = list_images(os.path.join(self.root, parent, folder))
            rows += [(os.path.join(parent, folder, image), folder) for image in images]
            if not images:
                print(f"WARNING: skipping {os.path.join(self.root, parent, folder)}: no images directly in this folder")
        if not rows:
            raise ValueError("no images in class folders, such as cat/1.jpg and dog/2.jpg")
        return rows

    def make_split(self, rows, names):
        """Returns the `Split` of `(path, class)` rows by split; `names` maps classes to other class names."""
        classes = sorted({name for split_rows in rows.values() for _, name in split_rows})
        unknown = sorted(set(names) - set(classes))
        if unknown:
            raise ValueError(f"{self.options.CLASSNAMES}: unknown class {unknown[0]!r}")
        labels = {name: label for label, name in enumerate(classes)}
        items = {}
        for split, split_rows in rows.items():
            items[split] = [Item(path, labels[name], names.get(name, name)) for path, name in split_rows]
        if "all" in items:
            print(f"Splitting by a fixed rule: {self.rule}, the same for every seed")
            return split_three(items["all"])
        train_classes = {name for _, name in rows["train"]}
        for split in ("val", "test"):
            unexpected = sorted({name for _, name in rows.get(split, [])} - train_classes)
            if unexpected:
                raise ValueError(f"class {unexpected[0]!r} is in {split} but has no train images")
        return Split(items["train"], items.get("val", []), items["test"])

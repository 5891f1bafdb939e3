"""Folder: your own images. DATASET.ROOT (`--root`) is the folder with them, in one of three forms.

1. One folder per class: `cat/1.jpg dog/2.jpg`. Split by a fixed rule: 50 % train, 20 % val, 30 % test of each class.
2. `train/ val/ test/`, each with one folder per class. Without `test/`, `val/` is the test set; `val/` may be missing.
3. A list, DATASET.FOLDER.LIST: see `folder_lists`.

Images lie directly in their class folder. Nothing is written here: the selection follows from images and seed.
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
cfg_default.DATASET.FOLDER.LIST = ""  # CSV or JSON of images and their classes, relative to DATASET.ROOT
cfg_default.DATASET.FOLDER.CLASSNAMES = ""  # CSV or JSON of folders and class names, relative to DATASET.ROOT

VAL_NAMES = ("val", "valid", "validation")


@DATASET_REGISTRY.register()
class Folder(FewShotDataset):
    """The user's images. Classes are sorted by folder name, or by class name in a list."""

    dataset_dir = ""
    image_dir = ""
    keep_selection = False
    options = cfg_default.DATASET.FOLDER

    def __init__(self, cfg):
        self.options = cfg.DATASET.FOLDER
        super().__init__(cfg)

    def remedy(self):
        return "docs/datasets.md explains the layouts of your own images"

    def read_data(self):
        names = {}
        if self.options.CLASSNAMES:
            names = read_names(os.path.join(self.root, self.options.CLASSNAMES))
        if self.options.LIST:
            parts = read_list(os.path.join(self.root, self.options.LIST))
        elif "train" in list_folders(self.root) and self.part_folders():
            parts = {part: self.list_part(folder) for part, folder in self.part_folders().items()}
        else:
            parts = {"all": self.list_part("")}
        return self.label(parts, names)

    def read_split(self):
        split, made, _ = super().read_split()
        return split, made, self.options.LIST or self.root

    def part_folders(self):
        """Folder of each part, empty if this is not the `train/ val/ test/` form."""
        folders = list_folders(self.root)
        val = next((name for name in VAL_NAMES if name in folders), "")
        if "test" in folders:
            return {"train": "train", "test": "test", **({"val": val} if val else {})}
        return {"train": "train", "test": val} if val else {}

    def list_part(self, under):
        """`(path, class)` of each image below `under`, by class folder."""
        rows = []
        for folder in list_folders(os.path.join(self.root, under)):
            images = list_images(os.path.join(self.root, under, folder))
            rows += [(os.path.join(under, folder, image), folder) for image in images]
            if not images:
                print(f"WARNING: {os.path.join(self.root, under, folder)} has no images directly in it: left out")
        if not rows:
            raise ValueError("there are no images in class folders, such as cat/1.jpg and dog/2.jpg")
        return rows

    def label(self, parts, names):
        """`Split` of `(path, class)` rows by part; `names` gives classes another name."""
        classes = sorted({name for rows in parts.values() for _, name in rows})
        unknown = sorted(set(names) - set(classes))
        if unknown:
            raise ValueError(f"{self.options.CLASSNAMES} has a name for {unknown[0]!r}, which is no class here")
        labels = {name: label for label, name in enumerate(classes)}
        items = {
            part: [Item(path, labels[name], names.get(name, name)) for path, name in rows]
            for part, rows in parts.items()
        }
        if "all" in items:
            print(f"Splitting by a fixed rule: {self.rule}, the same whatever the seed")
            return split_three(items["all"])
        trained = {name for _, name in parts["train"]}
        for part in ("val", "test"):
            foreign = sorted({name for _, name in parts.get(part, [])} - trained)
            if foreign:
                raise ValueError(f"class {foreign[0]!r} is in {part} but has no images in train")
        return Split(items["train"], items.get("val", []), items["test"])

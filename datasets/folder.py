"""Folder: your own images. DATASET.ROOT (`--root`) is their folder, in one of three layouts.

1. One folder per class: `cat/1.jpg dog/2.jpg`. Each class is split by a fixed rule: 50 % train, 20 % val, 30 % test.
2. `train/ val/ test/`, each with one folder per class. `val/` is optional. Without `test/`, `val/` is the test set.
3. A list of images, DATASET.FOLDER.LIST: see `folder_lists`.

`own_images` says which files are images. A class folder may have folders of its own. No file is written: splits and
few-shot selections are computed from the images' names and the seed in every run.
"""

import os
from collections import Counter

from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.data.datasets import DATASET_REGISTRY

from .base import FewShotDataset
from .folder_lists import read_list, read_names
from .image_folders import list_images
from .own_images import class_folders, describe, find_images, split_folders, unwrap
from .random_splits import split_three
from .splits import Item, Split
from .unreadable import find_unreadable

cfg_default.DATASET.FOLDER = CN()
cfg_default.DATASET.FOLDER.NAME = ""  # name of the dataset in reports and output paths; "": the folder's name
cfg_default.DATASET.FOLDER.LIST = ""  # CSV or JSON of images and their classes, relative to DATASET.ROOT
cfg_default.DATASET.FOLDER.CLASSNAMES = ""  # CSV or JSON of folders and class names, relative to DATASET.ROOT
cfg_default.DATASET.FOLDER.SKIP_UNREADABLE = False  # True: decode all images first, leave out unreadable ones
cfg_default.DATASET.FOLDER.ALLOW_DUPLICATES = False  # True: equal images in train and test are no error


@DATASET_REGISTRY.register()
class Folder(FewShotDataset):
    """The user's own images. Classes are sorted by folder name, or by class name if there is a list."""

    dataset_dir = ""
    image_dir = ""
    keep_selection = False
    options = cfg_default.DATASET.FOLDER

    def __init__(self, cfg):
        self.options = cfg.DATASET.FOLDER
        self.refuses_duplicates = not self.options.ALLOW_DUPLICATES
        super().__init__(cfg)

    def remedy(self):
        return "See docs/datasets.md for the layouts of your own images"

    def read_data(self):
        names = {}
        if self.options.CLASSNAMES:
            names = read_names(os.path.join(self.root, self.options.CLASSNAMES))
        if self.options.LIST:
            rows = read_list(os.path.join(self.root, self.options.LIST), self.root, self.needs_test)
        else:
            rows = self.list_folders()
        if self.options.SKIP_UNREADABLE:
            rows = self.skip_unreadable(rows)
        return self.make_split(rows, names)

    def read_split(self):
        split, generated_by, _ = super().read_split()
        return split, generated_by, self.options.LIST or self.root

    def list_folders(self):
        """Returns `(path, class)` rows by split, or as "all" if the layout is not `train/ val/ test/`."""
        parent = unwrap(self.root)
        if parent:
            print(f"Reading {os.path.join(self.root, parent)}, the only folder in {self.root}")
        folders = class_folders(self.root, parent)
        by_split = split_folders(folders)
        left_out = Counter()
        if by_split:
            left_out["folders next to the splits"] = len(set(folders) - set(by_split.values()))
            rows = {}
            for split, folder in by_split.items():
                rows[split] = self.list_class_folders(os.path.join(parent, folder), left_out)
        else:
            rows = {"all": self.list_class_folders(parent, left_out)}
        if describe(left_out):
            print(f"Images in {self.root}: {describe(left_out)}")
        return rows

    def list_class_folders(self, parent, left_out):
        """Returns `(path, class)` of each image in the class folders in `parent`; counts other files in `left_out`."""
        rows = []
        deeper = []
        for folder in class_folders(self.root, parent):
            found = find_images(os.path.join(self.root, parent, folder))
            rows += [(os.path.join(parent, folder, image), folder) for image in found.paths]
            deeper += [f"{folder}/{image}" for image in found.paths if "/" in image]
            left_out.update(found.left_out)
            if not found.paths:
                print(f"WARNING: skipping {os.path.join(self.root, parent, folder)}: no images in this folder")
        left_out["images outside class folders"] += len(list_images(os.path.join(self.root, parent)))
        if not rows:
            reason = f"; {describe(left_out)}" if describe(left_out) else ""
            raise ValueError(f"no images in class folders, such as cat/1.jpg and dog/2.jpg{reason}")
        if deeper:
            print(
                f"Note: {len(deeper):,} images are in folders within class folders; their class is the first folder, "
                f"such as {deeper[0].partition('/')[0]!r} for {deeper[0]}"
            )
        return rows

    def skip_unreadable(self, rows):
        """Returns `rows` without the images that cannot be read. A missing image is kept, and reported later."""
        paths = {path: os.path.join(self.root, path) for split_rows in rows.values() for path, _ in split_rows}
        unreadable = find_unreadable([path for path in paths.values() if os.path.isfile(path)])
        if unreadable:
            first = next(iter(unreadable.values()))
            print(f"Skipping {len(unreadable):,} unreadable of {len(paths):,} images (first: {first})")
        kept = {}
        for split, split_rows in rows.items():
            kept[split] = [row for row in split_rows if paths[row[0]] not in unreadable]
        return kept

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
        return Split(items["train"], items.get("val", []), items.get("test", []))

"""`FewShotDataset`: what CoOp's datasets share. Splits, few-shot sampling and base/new classes, to the image.

CoOp: Zhou et al., Learning to Prompt for Vision-Language Models, https://arxiv.org/abs/2109.01134.
"""

import os
import random

from dassl.config import cfg_default
from dassl.data.datasets import DatasetBase, Datum

from .fewshot_cache import FewShotCache
from .splits import (
    Split,
    check_classes,
    check_images,
    read_split,
    sample_shots,
    subsample_classes,
    write_split,
)

cfg_default.DATASET.SUBSAMPLE_CLASSES = "all"  # all, base (first half of the classes) or new (the other half)


class FewShotDataset(DatasetBase):
    """A dataset in CoOp's folders.

    A subclass states its folders, the facts that `catalogue` passes on, and in `read_data` how raw data are read.
    Order, as in CoOp: split file, few-shot sampling over all classes (train, then val with min(shots, 4)), base or
    new classes.

    Sampling draws from `random.Random(cfg.SEED)`: what CoOp draws after seeding Python's global generator,
    without touching that one. Without a seed nothing is cached: a file would fix what should vary.
    """

    dataset_dir = ""  # folder under DATASET.ROOT
    image_dir = "images"  # folder under dataset_dir; "" is dataset_dir itself
    split_file = ""  # e.g. split_zhou_Caltech101.json; "" if CoOp has none
    default_root = ""  # used if DATASET.ROOT is not set
    rule = "50 % train, 20 % val and 30 % test of each class"  # how `read_data` splits
    keep_selection = True  # whether few-shot selections are saved in `split_fewshot`

    template = "a photo of a {}."  # the paper's prompt (its Table 8, CoOp's zero-shot templates), {} for the class name
    counts = ()  # published numbers of classes, train, val and test images, None for one unknown; () for none
    paper_order = None  # 1 to 11: row in the papers' tables, ImageNet first; None for others
    variant_of = ""  # registry name of the dataset with the same classes whose distribution shift this is
    variant_order = None  # 1, 2, ...: row in the papers' tables among the variants of one dataset

    def __init__(self, cfg):
        self.place(cfg.DATASET.ROOT)
        self.prepare()
        self.check_folder()
        split = self.load_split()
        split = self.take_shots(split, cfg.DATASET.NUM_SHOTS, cfg.SEED)
        split = subsample_classes(split, cfg.DATASET.SUBSAMPLE_CLASSES)
        train, val, test = ([self.to_datum(item) for item in items] for items in split)
        super().__init__(train_x=train, val=val or None, test=test)

    def place(self, root):
        """Set the paths below `root`."""
        self.name = type(self).__name__
        if not (root or self.default_root):
            raise ValueError(
                f"DATASET.ROOT is not set: pass --root, the folder with {self.dataset_dir or 'the images'}"
            )
        self.root = os.path.abspath(os.path.expanduser(root or self.default_root))
        self.marker = "/".join(filter(None, ("", self.dataset_dir, self.image_dir))) + "/"
        self.dataset_dir = os.path.normpath(os.path.join(self.root, self.dataset_dir))
        self.image_dir = os.path.normpath(os.path.join(self.dataset_dir, self.image_dir))
        self.split_path = os.path.join(self.dataset_dir, self.split_file) if self.split_file else ""
        self.split_fewshot_dir = os.path.join(self.dataset_dir, "split_fewshot")

    @classmethod
    def at(cls, root):
        """The dataset with its paths and `read_split`, nothing read, checked or written; for tools."""
        dataset = cls.__new__(cls)
        dataset.place(root)
        return dataset

    def read_data(self):
        """`Split` made from the raw data if there is no split file; leaves the global random state as it is."""
        raise FileNotFoundError(f"{self.name} needs {self.split_path}. {self.remedy()}")

    def prepare(self):
        """Writes the images; only for datasets that come with a package."""

    def remedy(self):
        return f"Get it with `python tools/prepare_data.py {self.name} --root {self.root}` (see docs/datasets.md)"

    def check_folder(self):
        for folder in (self.root, self.dataset_dir, self.image_dir):
            if not os.path.isdir(folder):
                raise FileNotFoundError(f"{self.name}: there is no folder {folder}. {self.remedy()}")

    def read_split(self):
        """`(Split, made, source)` of the split file, else of the raw data; for `made` see `splits.read_split`."""
        if self.split_path and os.path.exists(self.split_path):
            return *read_split(self.split_path), self.split_path
        try:
            return self.read_data(), "", self.name
        except FileNotFoundError as error:
            no_split = f"there is no {self.split_path}, nor what one is made from: " if self.split_path else ""
            raise FileNotFoundError(f"{self.name}: {no_split}{error}. {self.remedy()}") from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{self.name}: {self.dataset_dir} is not laid out as expected ({error})") from error

    def load_split(self):
        """The whole `Split`, checked; one that had to be made is saved as the split file."""
        split, made, source = self.read_split()
        if source == self.split_path:
            print(f"Reading split from {source}" + (f"\n(made here, it is not CoOp's: {made})" if made else ""))
        check_classes(split, source)
        check_images([item for items in split for item in items], self.image_dir, source)
        if self.split_path and source != self.split_path:
            self.save_split(split)
        return split

    def save_split(self, split):
        made = f"{self.rule}, by name, independent of directory order and of the seed"
        print(f"No {self.split_path}: making one, {made}")
        try:
            write_split(split, self.split_path, made)
            print(f"Saved split to {self.split_path}")
        except OSError as error:
            print(f"WARNING: the split could not be saved ({error}); the next run makes the same one")

    def take_shots(self, split, shots, seed):
        """`shots` training and min(shots, 4) validation images per class; all images if shots < 1."""
        if shots < 1:
            return split
        if seed < 0:
            print("SEED is not set: every run samples its own few-shot images, and none are saved")
        cache = None
        if seed >= 0 and self.keep_selection:
            cache = FewShotCache(self.split_fewshot_dir, shots, seed, self.image_dir, self.marker)
        chosen = cache and cache.load(split.train, split.val)
        if not chosen:
            rng = random.Random(seed) if seed >= 0 else random
            chosen = sample_shots(split.train, shots, rng), sample_shots(split.val, min(shots, 4), rng)
            if cache:
                cache.save(*chosen)
        return Split(*chosen, split.test)

    def to_datum(self, item):
        return Datum(impath=os.path.join(self.image_dir, item.path), label=item.label, classname=item.classname)

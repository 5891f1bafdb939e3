"""`FewShotDataset`, the base class of the datasets: splits, few-shot sampling, base/new classes, as in CoOp.

CoOp: Zhou et al., Learning to Prompt for Vision-Language Models, https://arxiv.org/abs/2109.01134.
"""

import os
import random

from dassl.config import cfg_default
from dassl.data.datasets import DatasetBase, Datum

from .fewshot_cache import FewShotCache
from .public_splits import read_public
from .splits import (
    Split,
    check_classes,
    check_images,
    check_subset,
    read_split,
    sample_shots,
    subsample_classes,
    write_split,
)

cfg_default.DATASET.SUBSAMPLE_CLASSES = "all"  # all, base (first half of the classes) or new (second half)
cfg_default.DATASET.PUBLIC_SPLITS = False  # few-shot images from the files published by 2SFS, see public_splits.py


class FewShotDataset(DatasetBase):
    """A dataset in CoOp's folder layout.

    A subclass sets its folders and the attributes that `catalogue` lists, and implements `read_data`, which reads the
    raw data if there is no split file.

    The images are selected in CoOp's order: read the split, sample the shots over all classes (first train, then val
    with min(shots, 4) images per class), then select the base or the new classes.

    Few-shot sampling uses `random.Random(cfg.SEED)`. It returns the images that CoOp samples after `random.seed`, and
    leaves Python's global generator unchanged. Without a seed the selection is not cached, because it must differ
    from run to run.
    """

    dataset_dir = ""  # folder under DATASET.ROOT
    image_dir = "images"  # folder under dataset_dir; "" if it is dataset_dir itself
    split_file = ""  # e.g. split_zhou_Caltech101.json; "" if CoOp has none
    default_root = ""  # used if DATASET.ROOT is not set; only bundled datasets have one (bundled.py)
    rule = "50 % train, 20 % val and 30 % test of each class"  # how `read_data` splits the images
    keep_selection = True  # whether few-shot selections are saved in `split_fewshot`
    needs_test = True  # whether there must be test images; TEST.NO_TEST decides
    test_only = False  # whether the train images are the test images, as in the variants of ImageNet

    template = "a photo of a {}."  # the paper's prompt template (Table 8; CoOp's for zero-shot), {} for the class name
    metric = "accuracy"  # name of the evaluation's result by which methods are compared on this dataset
    counts = ()  # published numbers of classes, train, val and test images (None: unknown); () if none are published
    paper_order = None  # row in the papers' tables, 1 (ImageNet) to 11; None for other datasets
    variant_of = ""  # registry name of the dataset of which this is a distribution shift
    variant_order = None  # row in the papers' tables among the variants of one dataset: 1, 2, ...; None: not in them

    def __init__(self, cfg):
        self.needs_test = not cfg.TEST.NO_TEST
        self.set_paths(cfg.DATASET.ROOT)
        self.prepare()
        self.check_folder()
        self.public_splits = cfg.DATASET.PUBLIC_SPLITS
        split = self.load_split()
        labels = {item.label for item in split.train}  # of all classes, before images are selected
        check_subset(cfg.DATASET.SUBSAMPLE_CLASSES, len(labels))
        split = self.take_shots(split, cfg.DATASET.NUM_SHOTS, cfg.SEED)
        split = subsample_classes(split, cfg.DATASET.SUBSAMPLE_CLASSES, labels)
        train, val, test = ([self.to_datum(item) for item in items] for items in split)
        super().__init__(train_x=train, val=val or None, test=test)

    def set_paths(self, root):
        """Sets the name of the dataset and all paths below `root`."""
        self.name = type(self).__name__
        if not (root or self.default_root):
            raise ValueError(
                f"DATASET.ROOT is not set: pass --root, the folder with {self.dataset_dir or 'the images'}"
            )
        self.root = os.path.abspath(os.path.expanduser(root or self.default_root))
        self.image_subpath = "/".join(filter(None, ("", self.dataset_dir, self.image_dir))) + "/"  # e.g. /dtd/images/
        self.dataset_dir = os.path.normpath(os.path.join(self.root, self.dataset_dir))
        self.image_dir = os.path.normpath(os.path.join(self.dataset_dir, self.image_dir))
        self.split_path = os.path.join(self.dataset_dir, self.split_file) if self.split_file else ""
        self.split_fewshot_dir = os.path.join(self.dataset_dir, "split_fewshot")

    @classmethod
    def at_root(cls, root):
        """Returns the dataset with its paths set and no images loaded. For tools; reads and writes no file."""
        dataset = cls.__new__(cls)
        dataset.set_paths(root)
        return dataset

    def read_data(self):
        """Returns the `Split` generated from the raw data. Must leave the global random state unchanged."""
        raise FileNotFoundError(f"{self.name} needs {self.split_path}. {self.remedy()}")

    def prepare(self):
        """Writes the images to disk. Only for datasets that come with a Python package."""

    def remedy(self):
        """Returns the sentence that tells the user how to get the data."""
        return f"Get it with `python tools/prepare_data.py {self.name} --root {self.root}` (see docs/datasets.md)"

    def check_folder(self):
        """Raises FileNotFoundError if a folder of the dataset is missing."""
        for folder in (self.root, self.dataset_dir, self.image_dir):
            if not os.path.isdir(folder):
                raise FileNotFoundError(f"{self.name}: missing folder {folder}. {self.remedy()}")

    def read_split(self):
        """Returns `(split, generated_by, source)`, from the split file if it exists, else from the raw data.

        `generated_by` is explained in `splits.read_split`. `source` is the split file or the name of the dataset.
        """
        if self.split_path and os.path.exists(self.split_path):
            return *read_split(self.split_path), self.split_path
        try:
            return self.read_data(), "", self.name
        except FileNotFoundError as error:
            no_split = ""
            if self.split_path:
                no_split = f"missing split file {self.split_path}, and no raw data to generate it from: "
            raise FileNotFoundError(f"{self.name}: {no_split}{error}. {self.remedy()}") from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{self.name}: unexpected layout of {self.dataset_dir} ({error})") from error

    def load_split(self):
        """Returns the checked `Split` of all images. If it was generated, saves it as the split file."""
        split, generated_by, source = self.read_split()
        if source == self.split_path:
            print(f"Reading split from {source}")
            if generated_by:
                print(f"(not CoOp's split; generated here: {generated_by})")
        check_classes(split, source, self.needs_test)
        check_images([item for items in split for item in items], self.image_dir, source)
        if self.split_path and source != self.split_path:
            self.save_split(split)
        return split

    def save_split(self, split):
        """Writes a generated split to the split file; warns if that fails."""
        generated_by = f"{self.rule}, by name, independent of directory order and of the seed"
        print(f"Missing split file {self.split_path}: generating it, {generated_by}")
        try:
            write_split(split, self.split_path, generated_by)
            print(f"Saved split to {self.split_path}")
        except OSError as error:
            print(f"WARNING: the split could not be saved ({error}); every run generates the same one")

    def take_shots(self, split, shots, seed):
        """Samples, or reads, `shots` train and min(shots, 4) val images per class; keeps all images if shots < 1."""
        if self.test_only:
            print(f"{self.name} is for testing only: its train images are its test images")
            return split
        if self.public_splits:
            return Split(*read_public(split.train, split.val, self, shots, seed), split.test)
        if shots < 1:
            return split
        if seed < 0:
            print("SEED is not set: every run samples different few-shot images and does not save them")
        cache = None
        chosen = None
        if seed >= 0 and self.keep_selection:
            cache = FewShotCache(self.split_fewshot_dir, shots, seed, self.image_dir, self.image_subpath)
            chosen = cache.load(split.train, split.val)
        if chosen is None:
            rng = random.Random(seed) if seed >= 0 else random
            train = sample_shots(split.train, shots, rng)
            val = sample_shots(split.val, min(shots, 4), rng, part="validation")
            chosen = train, val
            if cache is not None:
                cache.save(train, val)
        return Split(*chosen, split.test)

    def to_datum(self, item):
        path = os.path.join(self.image_dir, item.path)
        return Datum(impath=path, label=item.label, domain=self.domain_of(item), classname=item.classname)

    def domain_of(self, item):
        """Returns the domain of an image, for datasets with several, as an index of `domains`."""
        return 0

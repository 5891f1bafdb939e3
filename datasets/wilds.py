"""`WildsDataset`, the base class of the datasets of WILDS: their original folders, official splits and metrics.

WILDS: Koh et al., A Benchmark of in-the-Wild Distribution Shifts, https://arxiv.org/abs/2012.07421. Package:
https://github.com/p-lambda/wilds, which is not needed here. The test images come from other domains (years, hospitals,
locations) than the training images: they are "out of distribution".
"""

from yacs.config import CfgNode as CN

from dassl.config import cfg_default

from .base import FewShotDataset
from .splits import Item, Split

cfg_default.DATASET.WILDS = CN()
cfg_default.DATASET.WILDS.VAL = "ood"  # validation images: ood (from other domains, WILDS' default) or id
cfg_default.DATASET.WILDS.NAMES = "clip"  # class names of evaluations of CLIP (clip) or of Dassl's loaders (dassl)

VAL_SPLITS = {"ood": "val", "id": "id_val"}
NAMES = ("clip", "dassl")


class WildsDataset(FewShotDataset):
    """A dataset of WILDS. A subclass implements `label_names` and `read_rows`.

    The few-shot images are sampled as in the other datasets: per class, not per domain.
    """

    val_split = VAL_SPLITS["ood"]  # name in the package
    test_split = "test"  # of the variants: id_test, images from the domains of the training images
    names = NAMES[0]

    def __init__(self, cfg):
        options = cfg.DATASET.WILDS
        for key, allowed in (("VAL", tuple(VAL_SPLITS)), ("NAMES", NAMES)):
            if options[key] not in allowed:
                raise ValueError(f"DATASET.WILDS.{key} must be one of {allowed}, got {options[key]!r}")
        self.val_split = VAL_SPLITS[options.VAL]
        self.names = options.NAMES
        super().__init__(cfg)

    def set_paths(self, root):
        super().set_paths(root)
        if self.val_split != VAL_SPLITS["ood"]:
            self.split_fewshot_dir += f"_{self.val_split}"  # a selection has validation images, too

    def label_names(self):
        """Returns the class names by label."""
        raise NotImplementedError

    def read_rows(self):
        """Yields (path, label, split) of every image; `split` has the package's name, or "" if it is in none."""
        raise NotImplementedError

    def read_data(self):
        names = self.label_names()
        items = {split: [] for split in ("train", self.val_split, self.test_split)}
        for path, label, split in self.read_rows():
            if split in items:
                items[split].append(Item(path, label, names[label]))
        return Split(*items.values())

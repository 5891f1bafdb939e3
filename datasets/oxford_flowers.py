"""Oxford Flowers: 102 flowers (Nilsback & Zisserman, 2008)."""

import os

from dassl.data.datasets import DATASET_REGISTRY
from trainers.common.classes import whole_number

from .annotation_files import read_mat
from .base import FewShotDataset
from .random_splits import split_three
from .splits import Item, read_json


@DATASET_REGISTRY.register()
class OxfordFlowers(FewShotDataset):
    dataset_dir = "oxford_flowers"
    image_dir = "jpg"
    split_file = "split_zhou_OxfordFlowers.json"
    template = "a photo of a {}, a type of flower."
    counts = (102, 4_093, 1_633, 2_463)
    paper_order = 5

    def read_data(self):
        labels = map(whole_number, read_mat(self.dataset_dir, "imagelabels.mat")["labels"][0])  # from 1
        names = read_json(os.path.join(self.dataset_dir, "cat_to_name.json"))  # {"1": "pink primrose", ...}
        return split_three(
            [Item(f"image_{i:05d}.jpg", label - 1, names[str(label)]) for i, label in enumerate(labels, 1)]
        )

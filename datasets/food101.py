"""Food-101: 101 dishes (Bossard et al., 2014)."""

from dassl.data.datasets import DATASET_REGISTRY

from .base import FewShotDataset
from .image_folders import folder_items
from .random_splits import split_three


@DATASET_REGISTRY.register()
class Food101(FewShotDataset):
    dataset_dir = "food-101"
    image_dir = "images"
    split_file = "split_zhou_Food101.json"
    template = "a photo of {}, a type of food."
    counts = (101, 50_500, 20_200, 30_300)
    paper_order = 6

    def read_data(self):
        return split_three(folder_items(self.image_dir))

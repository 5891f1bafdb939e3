"""Describable Textures (DTD): 47 texture classes (Cimpoi et al., 2014)."""

from dassl.data.datasets import DATASET_REGISTRY

from .base import FewShotDataset
from .image_folders import folder_items
from .random_splits import split_three


@DATASET_REGISTRY.register()
class DescribableTextures(FewShotDataset):
    dataset_dir = "dtd"
    image_dir = "images"
    split_file = "split_zhou_DescribableTextures.json"
    template = "{} texture."
    counts = (47, 2_820, 1_128, 1_692)
    paper_order = 9

    def read_data(self):
        return split_three(folder_items(self.image_dir))

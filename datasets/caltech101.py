"""Caltech101: 100 object classes (Fei-Fei et al., 2004). As in CoOp, without two folders, four classes renamed."""

from dassl.data.datasets import DATASET_REGISTRY

from .base import FewShotDataset
from .image_folders import folder_items
from .random_splits import split_three

IGNORED = ("BACKGROUND_Google", "Faces_easy")
CLASSNAMES = {"airplanes": "airplane", "Faces": "face", "Leopards": "leopard", "Motorbikes": "motorbike"}


@DATASET_REGISTRY.register()
class Caltech101(FewShotDataset):
    dataset_dir = "caltech-101"
    image_dir = "101_ObjectCategories"
    split_file = "split_zhou_Caltech101.json"
    counts = (100, 4_128, 1_649, 2_465)
    paper_order = 2

    def read_data(self):
        return split_three(folder_items(self.image_dir, IGNORED, CLASSNAMES))

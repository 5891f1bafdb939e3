"""EuroSAT: 10 land-use classes in satellite images (Helber et al., 2019), with CoOp's class names."""

from dassl.data.datasets import DATASET_REGISTRY

from .base import FewShotDataset
from .image_folders import folder_items
from .random_splits import split_three

CLASSNAMES = {
    "AnnualCrop": "Annual Crop Land",
    "HerbaceousVegetation": "Herbaceous Vegetation Land",
    "Highway": "Highway or Road",
    "Industrial": "Industrial Buildings",
    "Pasture": "Pasture Land",
    "PermanentCrop": "Permanent Crop Land",
    "Residential": "Residential Buildings",
    "SeaLake": "Sea or Lake",
}


@DATASET_REGISTRY.register()
class EuroSAT(FewShotDataset):
    dataset_dir = "eurosat"
    image_dir = "2750"
    split_file = "split_zhou_EuroSAT.json"
    template = "a centered satellite photo of {}."
    counts = (10, 13_500, 5_400, 8_100)
    paper_order = 10

    def read_data(self):
        return split_three(folder_items(self.image_dir, classnames=CLASSNAMES))

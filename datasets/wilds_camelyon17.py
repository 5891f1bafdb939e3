"""Camelyon17-WILDS: patches of lymph nodes with and without tumour, tested on another hospital (Bandi et al., 2018).

The label says whether the central 32x32 pixels of the 96x96 have tumour tissue.
"""

from dassl.data.datasets import DATASET_REGISTRY

from .annotation_files import read_table
from .wilds import WildsDataset

HOSPITALS = {"1": "val", "2": "test"}  # the other three: train and, as the column "split" says, id_val
NAMES = {
    "clip": ("lymph node", "lymph node containing metastatic tumor tissue"),  # of PatchCamelyon in FLYP
    "dassl": ("healthy tissue", "tumor tissue"),
}


@DATASET_REGISTRY.register()
class Camelyon17Wilds(WildsDataset):
    dataset_dir = "camelyon17_v1.0"
    image_dir = "patches"
    template = "a histopathology slide showing {}."  # ensemble: configs/templates/wilds_camelyon17.txt
    counts = (2, 302_436, 34_904, 85_054)

    def label_names(self):
        return NAMES[self.names]

    def read_rows(self):
        columns = ("patient", "node", "x_coord", "y_coord", "tumor", "center", "split")
        for patient, node, x, y, tumor, hospital, split in read_table(
            self.dataset_dir, "metadata.csv", columns=columns
        ):
            slide = f"patient_{patient}_node_{node}"
            path = f"{slide}/patch_{slide}_x_{x}_y_{y}.png"
            yield path, int(tumor), HOSPITALS.get(hospital) or ("train", "id_val")[int(split)]

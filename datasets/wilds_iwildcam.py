"""iWildCam-WILDS: 182 animals in photos of camera traps, tested on other traps (Beery et al., 2020).

Results are compared by macro F1 over the classes of the test images.
"""

import os

from dassl.data.datasets import DATASET_REGISTRY

from .annotation_files import read_table
from .wilds import WildsDataset

NAMES_FILE = os.path.join(os.path.dirname(__file__), "wilds_iwildcam_names.csv")  # label, scientific, English (WiSE-FT)


@DATASET_REGISTRY.register()
class IWildCamWilds(WildsDataset):
    """Some classes have the same English name; for example, the paca has two labels."""

    dataset_dir = "iwildcam_v2.0"
    image_dir = "train"  # the images of all splits
    template = "a photo of {}."  # ensemble: configs/templates/wilds_iwildcam.txt
    counts = (182, 129_809, 14_961, 42_791)
    metric = "macro_f1"

    def label_names(self):
        column = {"clip": "english", "dassl": "scientific"}[self.names]
        return [name for _, name in read_table(NAMES_FILE, columns=("label", column))]

    def read_rows(self):
        for split, label, filename in read_table(self.dataset_dir, "metadata.csv", columns=("split", "y", "filename")):
            yield filename, int(label), split

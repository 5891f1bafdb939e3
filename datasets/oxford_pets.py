"""Oxford-IIIT Pets: 37 breeds (Parkhi et al., 2012)."""

from dassl.data.datasets import DATASET_REGISTRY

from .annotation_files import read_lines
from .base import FewShotDataset
from .random_splits import split_trainval
from .splits import Item, Split


@DATASET_REGISTRY.register()
class OxfordPets(FewShotDataset):
    dataset_dir = "oxford_pets"
    image_dir = "images"
    split_file = "split_zhou_OxfordPets.json"
    template = "a photo of a {}, a type of pet."
    counts = (37, 2_944, 736, 3_669)
    paper_order = 3
    rule = "20 % of each class of trainval.txt as val"

    def read_data(self):
        return Split(*split_trainval(self.read_list("trainval.txt")), self.read_list("test.txt"))

    def read_list(self, name):
        """Lines are `<breed>_<number> <label from 1> <species> <breed within species>`."""
        items = []
        for line in read_lines(self.dataset_dir, "annotations", name):
            if not line.startswith("#"):
                image, label, *_ = line.split()
                items.append(Item(f"{image}.jpg", int(label) - 1, image.rpartition("_")[0].lower()))
        return items

"""FGVC Aircraft: 100 variants (Maji et al., 2013), with the official split."""

from dassl.data.datasets import DATASET_REGISTRY

from .annotation_files import read_lines
from .base import FewShotDataset
from .splits import Item, Split


@DATASET_REGISTRY.register()
class FGVCAircraft(FewShotDataset):
    dataset_dir = "fgvc_aircraft"
    image_dir = "images"
    template = "a photo of a {}, a type of aircraft."
    counts = (100, 3_334, 3_333, 3_333)
    paper_order = 7

    def read_data(self):
        labels = {name: label for label, name in enumerate(read_lines(self.dataset_dir, "variants.txt"))}
        return Split(*(self.read_list(split, labels) for split in Split._fields))

    def read_list(self, split, labels):
        """Lines are `<image number> <variant>`, e.g. `1025794 Eurofighter Typhoon`."""
        items = []
        for line in read_lines(self.dataset_dir, f"images_variant_{split}.txt"):
            image, variant = line.split(" ", 1)
            items.append(Item(f"{image}.jpg", labels[variant], variant))
        return items

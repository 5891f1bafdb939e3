"""ObjectNet: photos of objects in unusual places, poses and views (Barbu et al., 2019). For testing only.

Used are the 113 of its 313 classes that ImageNet has too, with 18,574 images. The licence forbids to tune any parameter
of a model on these images. https://objectnet.dev
"""

import os

from dassl.data.datasets import DATASET_REGISTRY

from .image_folders import folder_items, list_folders
from .imagenet import ImageNetVariant
from .splits import Split, read_json

BORDER = 2  # pixels at each edge, as evaluations of CLIP cut off; the outermost is red, so that copies are recognised


@DATASET_REGISTRY.register()
class ObjectNet(ImageNetVariant):
    """Reads the unpacked archive. Its folder `mappings` names the class folders and those that ImageNet has."""

    dataset_dir = "objectnet-1.0"
    counts = (113, None, None, 18_574)

    def __init__(self, cfg):
        if cfg.INPUT.CROP_BORDER != BORDER:
            raise ValueError(
                f"ObjectNet: INPUT.CROP_BORDER must be {BORDER}, because its images have a red border, got "
                f"{cfg.INPUT.CROP_BORDER}: pass --dataset-config-file configs/datasets/objectnet.yaml, which sets it"
            )
        super().__init__(cfg)

    def read_mapping(self, file):
        """Returns a dict from text to text, the content of a JSON file of the archive."""
        path = os.path.join(self.dataset_dir, "mappings", file)
        if not os.path.isfile(path):
            raise FileNotFoundError(f"missing file {path}")
        mapping = read_json(path)
        if not isinstance(mapping, dict) or not all(isinstance(value, str) for value in mapping.values()):
            raise ValueError(f"{path} must have one text per name")
        return mapping

    def read_data(self):
        """The class names are ObjectNet's in lower case, the labels in the order of the folders, as in WiSE-FT."""
        names = self.read_mapping("folder_to_objectnet_label.json")
        shared = set(self.read_mapping("objectnet_to_imagenet_1k.json"))
        unnamed = [folder for folder in list_folders(self.image_dir) if folder not in names]
        if unnamed:
            raise ValueError(f"missing class name of folder {unnamed[0]} in folder_to_objectnet_label.json")
        classnames = {folder: name.lower() for folder, name in names.items() if name in shared}
        missing = sorted(shared - set(names.values()))
        if missing:
            raise ValueError(f"missing folder of class {missing[0]!r} in folder_to_objectnet_label.json")
        others = [folder for folder in names if folder not in classnames]
        items = folder_items(self.image_dir, ignored=others, classnames=classnames, numbering=sorted(classnames))
        return Split(items, [], items)

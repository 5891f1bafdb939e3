"""ImageNetV2, top images: the ten images per class that most annotators selected (Recht et al., 2019)."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenetv2 import ImageNetV2


@DATASET_REGISTRY.register()
class ImageNetV2TopImages(ImageNetV2):
    image_dir = "imagenetv2-top-images-format-val"
    variant_order = None

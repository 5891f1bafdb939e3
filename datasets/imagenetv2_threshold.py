"""ImageNetV2, threshold 0.7: images that at least 70 % of the annotators took for their class (Recht et al., 2019)."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenetv2 import ImageNetV2


@DATASET_REGISTRY.register()
class ImageNetV2Threshold(ImageNetV2):
    image_dir = "imagenetv2-threshold0.7-format-val"
    variant_order = None

"""ImageNet-Sketch: 50,889 sketches of ImageNet's classes, for testing (Wang et al., 2019)."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetSketch(ImageNetVariant):
    dataset_dir = "imagenet-sketch"
    image_dir = "images"
    counts = (1_000, None, None, 50_889)
    variant_order = 2

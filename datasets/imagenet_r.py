"""ImageNet-R(endition): 30,000 paintings, toys and other renditions of 200 classes (Hendrycks et al., 2021)."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetR(ImageNetVariant):
    dataset_dir = "imagenet-rendition"
    image_dir = "imagenet-r"
    counts = (200, None, None, 30_000)
    variant_order = 4

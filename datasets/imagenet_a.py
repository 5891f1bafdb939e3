"""ImageNet-A(dversarial): 7,500 natural images of 200 classes that fool a ResNet-50 (Hendrycks et al., 2021)."""

from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant


@DATASET_REGISTRY.register()
class ImageNetA(ImageNetVariant):
    dataset_dir = "imagenet-adversarial"
    image_dir = "imagenet-a"
    counts = (200, None, None, 7_500)
    variant_order = 3

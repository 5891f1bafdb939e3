"""Mini-ImageNet, the 16 classes of `val.csv`: to choose settings of episodes."""

from dassl.data.datasets import DATASET_REGISTRY

from .mini_imagenet import MiniImageNet


@DATASET_REGISTRY.register()
class MiniImageNetVal(MiniImageNet):
    list_file = "val.csv"
    counts = (16, None, None, 9_600)

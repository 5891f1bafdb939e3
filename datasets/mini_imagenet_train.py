"""Mini-ImageNet, the 64 classes of `train.csv`, on which a CLIP can be tuned before episodes on the other classes."""

from dassl.data.datasets import DATASET_REGISTRY

from .mini_imagenet import MiniImageNet
from .random_splits import split_three


@DATASET_REGISTRY.register()
class MiniImageNetTrain(MiniImageNet):
    list_file = "train.csv"
    counts = (64, 19_200, 7_680, 11_520)
    test_only = False

    def read_data(self):
        return split_three(self.read_items())

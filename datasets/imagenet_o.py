"""ImageNet-O: images of classes that ImageNet does not have, to be recognised as anomalies (Hendrycks et al., 2021).

https://arxiv.org/abs/1907.07174, code: https://github.com/hendrycks/natural-adv-examples. A classifier of 200 of
ImageNet's classes sees 2,000 anomalies and the 10,000 validation images of these classes. The less sure it is of an
image, the more anomalous: the score is minus the largest probability. Compared is the area under the precision-recall
curve, with the anomalies as the positive class. Chance is the share of the anomalies, 16.7 %.

The class folder of an anomaly is what a ResNet-50 took it for. It is not its class, and the accuracy means nothing.
"""

import os

import numpy as np

from dassl.data.datasets import DATASET_REGISTRY
from trainers.common.metrics import auroc, average_precision

from .image_folders import list_images
from .imagenet import ImageNet, ImageNetVariant, named_items
from .splits import Item, Split


@DATASET_REGISTRY.register()
class ImageNetO(ImageNetVariant):
    """Anomalies in `imagenet-o/images/<class folder>`, and ImageNet's validation images of the same class folders."""

    dataset_dir = "imagenet-o"
    counts = (200, None, None, 12_000)
    metric = "aupr"
    domains = ("ImageNet", "anomaly")

    def set_paths(self, root):
        super().set_paths(root)
        self.validation_dir = os.path.join(self.root, ImageNet.dataset_dir, ImageNet.image_dir, "val")

    def read_data(self):
        """The paths of ImageNet's images are absolute, because they are in another folder."""
        (anomalies,) = named_items(self.dataset_dir, self.image_dir)
        classes = {item.path.partition("/")[0]: item for item in anomalies}
        known = []
        for folder, (_, label, name) in classes.items():
            path = os.path.join(self.validation_dir, folder)
            if not os.path.isdir(path):
                raise FileNotFoundError(f"missing folder {path} with ImageNet's validation images of {name!r}")
            known += [Item(os.path.join(path, image), label, name) for image in list_images(path)]
        return Split(known, [], known + anomalies)

    def domain_of(self, item):
        return self.domains.index("ImageNet" if os.path.isabs(item.path) else "anomaly")

    def more_metrics(self, items, outcomes):
        """Returns AUPR and AUROC of the anomalies, and the accuracy on ImageNet's images alone, in percent."""
        is_anomaly = np.array([self.domains[item.domain] == "anomaly" for item in items])
        return {
            "aupr": 100.0 * average_precision(-outcomes.confidence, is_anomaly),
            "auroc_anomaly": 100.0 * auroc(-outcomes.confidence, is_anomaly),
            "accuracy_imagenet": 100.0 * float(outcomes.correct[~is_anomaly].mean()),
        }

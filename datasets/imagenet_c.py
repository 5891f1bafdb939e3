"""ImageNet-C: ImageNet's validation images with 15 kinds of corruption in 5 severities.

Hendrycks and Dietterich, 2019, https://arxiv.org/abs/1903.12261. These are the published images, 224x224 pixels.
`tools/robustness.py` corrupts the images of any dataset.
"""

import os

from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.data.datasets import DATASET_REGISTRY

from .imagenet import ImageNetVariant, named_items
from .splits import Split

cfg_default.DATASET.IMAGENET_C = CN()
cfg_default.DATASET.IMAGENET_C.CORRUPTION = "all"  # one of CORRUPTIONS or EXTRA, or all: CORRUPTIONS
cfg_default.DATASET.IMAGENET_C.SEVERITY = 0  # 1 to 5, or 0: all

# AlexNet's mean error over the five severities, the denominator of the corruption error, from the authors' code
CORRUPTIONS = {
    "gaussian_noise": 0.886428, "shot_noise": 0.894468, "impulse_noise": 0.922640, "defocus_blur": 0.819880,
    "glass_blur": 0.826268, "motion_blur": 0.785948, "zoom_blur": 0.798360, "snow": 0.866816, "frost": 0.826572,
    "fog": 0.819324, "brightness": 0.564592, "contrast": 0.853204, "elastic_transform": 0.646056, "pixelate": 0.717840,
    "jpeg_compression": 0.606500,
}  # fmt: skip
EXTRA = ("speckle_noise", "gaussian_blur", "spatter", "saturate")  # not in the mean corruption error
SEVERITIES = (1, 2, 3, 4, 5)


@DATASET_REGISTRY.register()
class ImageNetC(ImageNetVariant):
    """Reads `imagenet-c/<corruption>/<severity>/<class folder>/*.JPEG`, as the archives have them.

    Each corruption in one severity is a domain, called by its folder: "gaussian_noise/1".
    """

    dataset_dir = "imagenet-c"
    image_dir = ""
    counts = (1_000, None, None, 3_750_000)
    corruption = "all"
    severity = 0

    def __init__(self, cfg):
        options = cfg.DATASET.IMAGENET_C
        for key, allowed in (("CORRUPTION", ("all", *CORRUPTIONS, *EXTRA)), ("SEVERITY", (0, *SEVERITIES))):
            if options[key] not in allowed:
                raise ValueError(f"DATASET.IMAGENET_C.{key} must be one of {allowed}, got {options[key]!r}")
        self.corruption, self.severity = options.CORRUPTION, options.SEVERITY
        super().__init__(cfg)

    def read_data(self):
        """The train images, which define the classes, are those of the first domain."""
        corruptions = CORRUPTIONS if self.corruption == "all" else (self.corruption,)
        severities = (self.severity,) if self.severity else SEVERITIES
        self.domains = [f"{corruption}/{severity}" for corruption in corruptions for severity in severities]
        missing = [name for name in self.domains if not os.path.isdir(os.path.join(self.image_dir, name))]
        if missing:
            raise FileNotFoundError(
                f"missing {len(missing)} of {len(self.domains)} folders of {self.dataset_dir}, first {missing[0]}; "
                "DATASET.IMAGENET_C.CORRUPTION and SEVERITY select others"
            )
        by_domain = named_items(self.dataset_dir, self.image_dir, self.domains)
        self.domain_indices = {name: index for index, name in enumerate(self.domains)}
        return Split(by_domain[0], [], [item for items in by_domain for item in items])

    def domain_of(self, item):
        corruption, severity, _ = item.path.split("/", 2)
        return self.domain_indices[f"{corruption}/{severity}"]

    def more_metrics(self, items, outcomes):
        """Returns the accuracy per corruption, the mean over its severities, and the mean corruption error, in percent.

        The latter needs all corruptions in all severities. With AlexNet's errors as denominators it may exceed 100.
        """
        hits = [[] for _ in self.domains]
        for item, hit in zip(items, outcomes.correct, strict=True):
            hits[item.domain].append(hit)
        accuracies = {}
        for name, own in zip(self.domains, hits, strict=True):
            accuracies.setdefault(name.partition("/")[0], []).append(100.0 * sum(own) / len(own))
        means = {name: sum(values) / len(values) for name, values in accuracies.items()}
        results = {f"accuracy_{name}": mean for name, mean in means.items()}
        if self.corruption == "all" and not self.severity:
            results["mce"] = sum((100.0 - means[name]) / error for name, error in CORRUPTIONS.items()) / len(means)
        return results

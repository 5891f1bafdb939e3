"""Image features that are computed once, for methods that train on features of a frozen image encoder."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import torch
from torch.utils.data import BatchSampler
from tqdm import tqdm

from dassl.data.data_manager import build_data_loader
from dassl.data.transforms import build_transform

NOT_RANDOM = {"normalize", "instance_norm", "center_crop"}  # names in INPUT.TRANSFORMS


def has_random_transform(cfg) -> bool:
    """Whether training images differ between epochs."""
    return not NOT_RANDOM.issuperset(cfg.INPUT.TRANSFORMS)


def ordered_loader(cfg, items, augment: bool = False):
    """Returns a data loader of all images in their order, prepared as in the test; `augment`: as in training."""
    return build_data_loader(
        cfg,
        sampler_type="SequentialSampler",
        data_source=items,
        batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
        tfm=build_transform(cfg, is_train=augment),
        is_train=False,
    )


@torch.no_grad()
def compute_features(trainer, items, encode: Callable) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns features (n, D) and labels (n,) of images, in their order, prepared as in the test.

    Args:
        items: images of a Dassl dataset, such as `dataset.train_x`.
        encode: images (B, 3, H, W) -> features (B, D).
    """
    features, labels = [], []
    for batch in tqdm(ordered_loader(trainer.cfg, items), desc="features"):
        image, label = trainer.parse_batch_test(batch)
        with trainer.autocast():
            features.append(encode(image))
        labels.append(label)
    return torch.cat(features), torch.cat(labels)


class FeatureLoader:
    """Batches of features (B, D) instead of images, sampled as `loader` samples its images."""

    def __init__(self, features: torch.Tensor, labels: torch.Tensor, loader):
        self.features = features
        self.labels = labels
        self.batches = BatchSampler(loader.sampler, loader.batch_size, loader.drop_last)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict]:
        for index in self.batches:
            yield {"img": self.features[index], "label": self.labels[index]}

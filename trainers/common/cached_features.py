"""Image features that are computed once, for methods that train on features of a frozen image encoder.

`compute_features` computes them for one run. `stored_features` keeps them on disk for all runs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
import torch
from torch.utils.data import BatchSampler
from tqdm import tqdm

from dassl.data.data_manager import build_data_loader
from dassl.data.transforms import build_transform

from .distributed import own_batches, rows_of_all
from .runs.feature_store import FeatureStore
from .runs.rng import random_state, set_random_state
from .views import Views, view_keys, views_of

NOT_RANDOM = {"normalize", "instance_norm", "center_crop"}  # names in INPUT.TRANSFORMS
ROWS = 8192  # features per file of the store; a run that is killed loses no more than these
# Keys of INPUT that the images of an evaluation depend on
EVALUATION_KEYS = (
    "SIZE",
    "INTERPOLATION",
    "RESIZE_MODE",
    "NO_TRANSFORM",
    "PIXEL_MEAN",
    "PIXEL_STD",
    "EXIF_ORIENTATION",
    "CROP_BORDER",
)


def has_random_transform(cfg) -> bool:
    """Whether training images differ between epochs."""
    return not NOT_RANDOM.issuperset(cfg.INPUT.TRANSFORMS)


def ordered_loader(cfg, items, augment: bool = False, dataset_wrapper=None):
    """Returns a data loader of all images in their order, prepared as in the test; `augment`: as in training."""
    return build_data_loader(
        cfg,
        sampler_type="SequentialSampler",
        data_source=items,
        batch_size=cfg.DATALOADER.TEST.BATCH_SIZE,
        tfm=build_transform(cfg, is_train=augment),
        is_train=False,
        dataset_wrapper=dataset_wrapper,
    )


@torch.no_grad()
def compute_features(trainer, items, encode: Callable) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns features (n, D) and labels (n,) of images, in their order, prepared as in the test.

    Args:
        items: images of a Dassl dataset, such as `dataset.train_x`.
        encode: images (B, 3, H, W) -> features (B, D).
    """
    parts, labels = [], torch.tensor([item.label for item in items], device=trainer.device)
    for batch in tqdm(own_batches(ordered_loader(trainer.cfg, items)), desc="features", disable=None):
        image, _ = trainer.parse_batch_test(batch)
        with trainer.autocast():
            parts.append((batch["index"], encode(image)))
    return rows_of_all(parts, len(items), trainer.device), labels


def stored_features(
    trainer, items, encode: Callable, n_views: int = 0, dtype: torch.dtype | None = None, **identity
) -> torch.Tensor:
    """Returns features (n_views, n, D) of augmented views of images, or (1, n, D) of the images as in the test for 0.

    Those that no run has computed yet are computed and added to the store. The state of the random generators stays the
    same. They are on the CPU.

    Args:
        items: n images of a Dassl dataset.
        encode: images (B, 3, H, W) -> features (B, D), by an encoder that depends on nothing but `store_identity`.
        dtype: default: fp16 if the trainer's precision is fp16, else fp32.
        identity: what the features depend on apart from that, as JSON values.
    """
    dtype = dtype or (torch.float16 if trainer.precision == "fp16" else torch.float32)
    keys = view_keys(items, n_views)
    store = FeatureStore(trainer.cfg, store_identity(trainer, augmented=n_views > 0, **identity))

    def compute(missing: np.ndarray):
        order = np.lexsort((missing // len(items), missing % len(items)))  # the views of an image one after the other
        return _computed(trainer, items, keys.ravel(), missing[order], encode, n_views > 0, dtype)

    state = random_state()
    features, n_computed = store.complete(keys.ravel(), compute)
    set_random_state(state)
    views = f" in {n_views} views" if n_views else ""
    print(f"Features of {len(items):,} images{views}: {keys.size - n_computed:,} stored, {n_computed:,} computed")
    return torch.from_numpy(features).reshape(*keys.shape, -1)


@torch.no_grad()
def _computed(trainer, items, keys: np.ndarray, missing: np.ndarray, encode: Callable, augment: bool, dtype):
    """Yields the places in `keys` and the features (m, D) of the missing ones, for up to about ROWS of them."""
    batch_size = trainer.cfg.DATALOADER.TEST.BATCH_SIZE
    n_rows = -(-ROWS // batch_size) * batch_size
    for start in range(0, len(missing), n_rows):
        chunk, parts = missing[start : start + n_rows], []
        views = views_of([items[i % len(items)] for i in chunk], keys[chunk])
        loader = ordered_loader(trainer.cfg, views, augment, Views if augment else None)
        for batch in tqdm(own_batches(loader), desc="features", total=len(loader), disable=None):
            image, _ = trainer.parse_batch_test(batch)
            with trainer.autocast():
                parts.append((batch["index"], encode(image).to("cpu", dtype)))
        yield chunk, rows_of_all(parts, len(chunk)).numpy()


def store_identity(trainer, augmented: bool, **identity) -> dict | None:
    """Returns what features of the frozen image encoder depend on, apart from the image; None if that is unknown.

    `identity` is added to it.
    """
    backbone, start = trainer.backbone.identity(), trainer.start
    if not backbone["weights_digest"]:
        return None
    options = trainer.cfg.INPUT
    names = options if augmented else [name for name in EVALUATION_KEYS if name in options]
    values = {name: list(value) if isinstance(value, tuple) else value for name, value in options.items()}
    return {
        "weights": backbone["weights_digest"],
        "activation": trainer.backbone.activation,
        "start": start.source["weights"] if start else "",
        "precision": trainer.precision,
        "device": trainer.device.type,
        "augmented": augmented,
        "input": {name: values[name] for name in sorted(names)},
        "transforms": sorted(NOT_RANDOM & set(options.TRANSFORMS)),
        **identity,
    }


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

"""The base class of methods that need nothing of the image encoder but its features, which are kept for all runs.

The store has the features before the projection that ends the encoder, if there is one. Every head, and the projection
itself, is trained on these, so that a second run encodes no image that an earlier one has encoded: whatever its method,
seed and number of shots. An evaluation reads the features of the test images too.

With parameter sets of the image encoder in TUNE, other than the projection, every step encodes its images instead.
"""

from __future__ import annotations

import weakref
from collections.abc import Iterator

import torch
from torch.utils.data import BatchSampler

from .cached_features import FeatureLoader, has_random_transform, stored_features
from .compat import functional_call
from .prompt_ensemble import class_means
from .runs.checkpoint import shorten
from .selective import UNSEEN, rows_of
from .trainer import ClipTrainer


class FeatureTrainer(ClipTrainer):
    """Base class of methods on features of CLIP's frozen image encoder.

    A method's `VIEWS` key is the number of augmented views per training image. Without a random transform in
    INPUT.TRANSFORMS there are none, and the images are prepared as in the test.
    """

    one_image_feature = True
    about_unseen = "predicted by their text features"

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        views = cfg.TRAINER[self.section].VIEWS
        if views < 1:
            raise ValueError(f"TRAINER.{self.section}.VIEWS must be at least 1, got {views}")

    def build_clip(self, classnames):
        self.rows = list(range(len(classnames)))  # row of the head for each class of this run
        self.evaluated = None  # the loader of images that was evaluated last, and that of their features
        super().build_clip(classnames)
        self.projection = self.backbone.projection()
        self.identity, _ = self.backbone.identity_projection()
        images = getattr(self, "train_loader_x", None)  # none in a trainer that is made to predict
        if images is not None and self.frozen and self.trainable:
            self.train_loader_x = self.training_loader(images)

    # Features

    @property
    def frozen(self) -> bool:
        """Whether the features before the projection are those of the frozen encoder."""
        return {name for name in self.clip_names if self.backbone.is_image(name)} <= set(self.projection)

    @property
    def n_views(self) -> int:
        """Number of augmented views per training image; 0: images as in the test."""
        return self.options.VIEWS if has_random_transform(self.cfg) else 0

    def base_features(self, image: torch.Tensor, tuned: bool = True) -> torch.Tensor:
        """Returns the features (B, D) before the projection, fp32. `tuned=False` uses the frozen CLIP."""
        overrides = {**(self._overrides(visual=True) if tuned else {}), **self.identity}
        return functional_call(self.image_encoder, overrides, (image.to(self.backbone.dtype),)).float()

    def image_features(self, image, tuned=True, **inputs):
        """Returns image features (B, E), fp32, not normalised, of images (B, 3, H, W) or features of the store (B, D).

        The projection is computed in fp32 at every precision.
        """
        features = image.float() if image.dim() == 2 else self.base_features(image, tuned)
        if not self.projection:
            return features
        own = self.clip_names if tuned else ()
        tensors = {n: (self.tuned if n in own else self.clip).get_parameter(n).float() for n in self.projection}
        with torch.autocast(self.device.type, enabled=False):
            return self.backbone.project(features, tensors)

    def stored(self, items, n_views: int = 0) -> torch.Tensor:
        """Returns features of the frozen encoder (n_views or 1, n, D), on the CPU; see `stored_features`."""
        self.set_model_mode("eval")
        return stored_features(self, items, lambda image: self.base_features(image, tuned=False), n_views)

    @torch.no_grad()
    def projected(self, items, n_views: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
        """Returns normalised image features (n_views or 1, n, E), fp32, and labels (n,), on the device."""
        parts = [self.encode_image(view.to(self.device), tuned=False) for view in self.stored(items, n_views)]
        return torch.stack(parts), labels_of(items).to(self.device)

    def raw_text_features(self) -> torch.Tensor:
        """Returns the mean text features (n_cls, E) of the classes' prompts, fp32, not normalised."""
        return self._raw_text_features(self._overrides(visual=False)) if self.text_names else self.raw_zero_shot()

    @torch.inference_mode(False)
    @torch.no_grad()
    def raw_zero_shot(self) -> torch.Tensor:
        """Returns the same of the frozen CLIP. They are computed once."""
        if self.text_cache.raw is None:
            self.text_cache.raw = self._raw_text_features({})
        return self.text_cache.raw

    def _raw_text_features(self, overrides: dict) -> torch.Tensor:
        with self.autocast():
            passes = [
                functional_call(self.text_encoder, overrides, (packed,)).float() for packed in self.packed_prompts
            ]
        return class_means(torch.cat(passes), self.prompt_index, normalize=False)

    # Training and evaluation

    def training_loader(self, images):
        """Returns a loader of batches of features instead of the loader `images`."""
        return ViewLoader(self, images)

    def check_training(self):
        super().check_training()
        if self.rows != list(range(self.num_classes)):
            raise ValueError(
                f"MODEL.INIT_WEIGHTS {self.cfg.MODEL.INIT_WEIGHTS} has other classes than this run: set "
                "DATASET.SUBSAMPLE_CLASSES as in its training, or remove the key"
            )

    def before_train(self):
        super().before_train()
        if isinstance(self.train_loader_x, ViewLoader) and self.start_epoch < self.max_epoch:
            self.train_loader_x.load()

    def test(self, split=None):
        name = "val_loader" if (split or self.cfg.TEST.SPLIT) == "val" else "test_loader"
        loader = getattr(self, name)
        items = getattr(getattr(loader, "dataset", None), "data_source", None)
        if not (self.frozen and items):
            return super().test(split)
        if self.evaluated is None or self.evaluated[0] is not loader:
            self.evaluated = loader, FeatureLoader(self.stored(items)[0], labels_of(items), loader)
        setattr(self, name, self.evaluated[1])
        try:
            return super().test(split)
        finally:
            setattr(self, name, loader)

    # Classes of a checkpoint

    def before_load(self, state):
        """Finds the classes of this run among those of a checkpoint, by name, and gives the head the rows of those."""
        own = self.tuned.state_dict(keep_vars=True)
        head = {name: tensor for name, tensor in own.items() if tensor.dim() and name not in self.clip_names}
        if not head:  # only parameters of CLIP, which predict any class
            return
        classnames = list(self.dm.dataset.classnames)
        known = state.get("meta", {}).get("classnames", classnames)
        self.rows = rows_of(classnames, known)
        unseen = [name for name, row in zip(classnames, self.rows) if row == UNSEEN]
        if unseen:
            print(f"Not trained on {len(unseen)} of {len(classnames)} classes ({shorten(unseen)}): {self.about_unseen}")
        saved = state["state_dict"]
        for name, tensor in head.items():
            if name in saved:
                tensor.data = tensor.new_zeros(len(saved[name]), *tensor.shape[1:])

    def of_classes(self, own: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        """Returns the rows of this run's classes: of `own` (K, E) if the head knows it, else of `other` (n_cls, E)."""
        if self.rows == list(range(len(own))):
            return own
        index = torch.tensor(self.rows, device=own.device)
        return torch.where((index == UNSEEN)[:, None], other, own[index.clamp(min=0)])


def labels_of(items) -> torch.Tensor:
    """Returns the labels (n,) of images of a Dassl dataset."""
    return torch.tensor([item.label for item in items])


class ViewLoader:
    """Batches of stored features, one view of each image per epoch: view 0 in the first epoch, view 1 in the next, ...

    Args:
        trainer: a FeatureTrainer.
        images: the loader of the images, whose sampler and batch size are used.
    """

    def __init__(self, trainer: FeatureTrainer, images):
        self.trainer = weakref.proxy(trainer)  # which has this loader
        self.images = images
        self.batches = BatchSampler(images.sampler, images.batch_size, images.drop_last)
        self.features = self.labels = None

    def load(self) -> None:
        """Sets `features` (V, n, D), which are computed if the store does not have them, and `labels` (n,)."""
        items = self.images.dataset.data_source
        self.features, self.labels = self.trainer.stored(items, self.trainer.n_views), labels_of(items)

    def __len__(self) -> int:
        return len(self.batches)

    def __iter__(self) -> Iterator[dict]:
        view = self.features[self.trainer.epoch % len(self.features)]
        for index in self.batches:
            yield {"img": view[index], "label": self.labels[index]}

"""What is different if a run is on images with captions, not with labels: losses, evaluation and checks.

A data set with captions has the attribute `task` "retrieval", items with a tuple `captions`, and a method `recalls`.
"""

from __future__ import annotations

import torch

from dassl.data.datasets import DATASET_REGISTRY

from . import distributed, pairs
from .caption_evaluator import CaptionEvaluator
from .tuned_clip import SIMILARITY

TASK = "retrieval"


class Captioned:
    """Mixin of `ClipTrainer`."""

    captions: pairs.Captions | None = None  # of the training images; `before_train` sets it
    context_tokens = 0  # tokens that are added to each caption
    for_any_text = ("model_inference",)

    @classmethod
    def caption_obstacle(cls, tensors: dict[str, torch.Tensor]) -> str:
        """Returns why captions cannot be compared with images, as "has ..."; "" if they can.

        Args:
            tensors: state_dict of the tuned module.
        """
        if cls.image_conditioned_text:
            return "has text features that depend on the image: each caption would be encoded again for each image"
        owners = {
            step: next(base for base in cls.__mro__ if step in vars(base)) for step in (*SIMILARITY, "model_inference")
        }
        changed = {step for step, owner in owners.items() if step not in vars(owner).get("for_any_text", ())}
        if changed & {"logits", "encode_image", "model_inference"}:
            return "has a head for its classes, which says nothing about captions"
        return "has text features of its classes only, from learned prompts or weights" if changed else ""

    def caption_tokens(self, captions: list[str]) -> tuple[torch.Tensor, list[bool]]:
        """Returns token ids (n, L) of captions, and for each caption whether it was too long and cut off."""
        return self.text_encoder.tokenizer.cut(captions)

    def encode_captions(self, tokens: torch.Tensor) -> torch.Tensor:
        """Returns normalised text features (n, E), fp32, of captions, given their `caption_tokens`."""
        return self.encode_text(self.text_encoder.pack(tokens).to(self.device))

    @property
    def has_captions(self) -> bool:
        """Whether the images have captions."""
        return getattr(self.dm.dataset, "task", "") == TASK

    def check_training(self):
        super().check_training()
        if self.has_captions and distributed.size() > 1 and self.changes.dropout() > 0:
            raise ValueError(  # captions are packed differently in each process, so dropout would have other masks
                f"TRAINER.{self.section}.DROPOUT {self.changes.dropout()} needs one process if images have captions, "
                f"but torchrun has started {distributed.size()}: set it to 0, or run python train.py ..."
            )

    def before_train(self):
        if self.has_captions and self.trainable:
            self.read_captions()
        super().before_train()

    def read_captions(self) -> None:
        """Sets the captions of the training images.

        Raises:
            ValueError: a batch would have a single pair or equal captions only, so that the loss is always zero.
        """
        items = self.dm.dataset.train_x
        if min(len(items), self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE) < 2:
            raise ValueError(
                "a batch of one pair has no negatives, so its loss is zero: DATALOADER.TRAIN_X.BATCH_SIZE "
                f"({self.cfg.DATALOADER.TRAIN_X.BATCH_SIZE}) and the number of training images ({len(items):,}, "
                f"DATASET.NUM_SHOTS {self.cfg.DATASET.NUM_SHOTS}) must be at least 2"
            )
        encoder = self.text_encoder
        texts = [item.captions for item in items]
        self.captions = pairs.Captions(texts, lambda texts: encoder.trim(encoder.tokenizer.cut(texts)[0]))
        if len(self.captions.tokens) < 2:
            raise ValueError(
                f"all {len(items):,} training images have the caption {texts[0][0]!r:.80}, so there are no negatives: "
                "check DATASET.CAPTIONS.FILE"
            )

    def chosen_captions(self, batch: dict) -> list[torch.Tensor]:
        """Returns what `pairs.losses` needs next to the images: their captions and `known`, on the device.

        Every process chooses for the whole batch, so that all have the same random numbers.
        """
        tokens, known = self.captions.choose(self.whole_batch(batch["index"]))
        return [self.own_rows(tokens).to(self.device), known.to(self.device)]

    def losses_of_batch(self, image: torch.Tensor, *target: torch.Tensor):
        """Returns logits (B, n), the right column of each row (B,), and the weighted loss terms by name.

        With captions, all processes have the logits of the whole batch.

        `image` and `target` are what `parse_batch_train` returns.
        """
        if self.has_captions:
            logits, terms = pairs.losses(self, image, *target)
            return logits, torch.arange(len(logits), device=image.device), terms
        (label,) = target
        logits, terms = self.losses(image, label)
        return logits, label, terms

    def model_inference(self, image):
        """Returns logits (B, n_cls), or normalised features (B, E) if the images have captions."""
        if not self.has_captions:
            return super().model_inference(image)
        with self.autocast():
            return self.encode_image(image)

    def test(self, split=None):
        if self.has_captions:
            self.evaluator = CaptionEvaluator(self, split or self.cfg.TEST.SPLIT)
        return super().test(split)


def is_captioned(dataset: str) -> bool:
    """Whether a data set, by its name in the registry, has images with captions."""
    registered = dataset in DATASET_REGISTRY.registered_names()
    return registered and getattr(DATASET_REGISTRY.get(dataset), "task", "") == TASK


def check(method: type, cfg) -> None:
    """Raises ValueError if the data set has captions and the method cannot use them, or a key has no effect on them."""
    name, caching = cfg.DATASET.NAME, cfg.MODEL.GRADIENT_CACHING
    if not is_captioned(name):
        if caching:
            raise ValueError(
                f"MODEL.GRADIENT_CACHING {caching} needs a data set with captions, but DATASET.NAME {name} has "
                "classes: set it to 0, or MODEL.ACTIVATION_CHECKPOINTING True to save memory"
            )
        return
    if not method.takes_captions():
        raise ValueError(
            f"{cfg.TRAINER.NAME} needs classes, but DATASET.NAME {name} has images with captions: use CLIPFit, or "
            "another method that docs/retrieval.md lists"
        )
    if cfg.DATASET.SUBSAMPLE_CLASSES != "all":
        raise ValueError(
            f"DATASET.SUBSAMPLE_CLASSES must be 'all' for captions, got {cfg.DATASET.SUBSAMPLE_CLASSES!r}: there are "
            "no classes"
        )
    for part, allowed in (("TRAIN_X", "RandomSampler"), ("TEST", "SequentialSampler")):
        sampler = cfg.DATALOADER[part].SAMPLER
        if sampler != allowed:
            raise ValueError(f"DATALOADER.{part}.SAMPLER must be {allowed} for captions, got {sampler!r}")

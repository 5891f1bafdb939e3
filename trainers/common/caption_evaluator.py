"""Evaluates a run on images with captions, in Dassl's loop over the images."""

from __future__ import annotations

from collections import OrderedDict

import torch

from dassl.evaluation import EvaluatorBase

CAPTIONS_PER_PASS = 256


class CaptionEvaluator(EvaluatorBase):
    """Collects the features of the images, then encodes the captions and computes the recalls.

    Args:
        trainer: a ClipTrainer.
        items: the images in the order of the evaluation. The results are `dataset.recalls(...)`; see datasets/captions.py.
    """

    def __init__(self, trainer, items):
        super().__init__(trainer.cfg)
        self.trainer = trainer
        self.items = items
        self.reset()

    def reset(self) -> None:
        self._features = []
        self._total = 0

    def process(self, mo: torch.Tensor, gt) -> None:
        """Adds the normalised features (B, E) of a batch of images. Their labels are ignored."""
        self._features.append(mo)
        self._total += len(mo)

    def evaluate(self) -> OrderedDict:
        """Prints the results and returns them unrounded."""
        captions = [caption for item in self.items for caption in item.captions]
        image_index = [index for index, item in enumerate(self.items) for _ in item.captions]
        images, texts = torch.cat(self._features), caption_features(self.trainer, captions)
        results = OrderedDict(self.trainer.dm.dataset.recalls(images, texts, image_index))
        print(f"=> result\n* total: {len(images):,} images, {len(captions):,} captions")
        for name, value in results.items():
            unit = "" if name.endswith("rank") else "%"
            print(f"* {name}: {value:.2f}{unit}")
        return results


@torch.no_grad()
def caption_features(trainer, captions: list[str]) -> torch.Tensor:
    """Returns normalised text features (m, E) of captions, fp32, with the tuned parameters. Equal ones are encoded once."""
    texts = list(dict.fromkeys(captions))
    parts = [texts[i : i + CAPTIONS_PER_PASS] for i in range(0, len(texts), CAPTIONS_PER_PASS)]
    with trainer.autocast():
        features = torch.cat([trainer.encode_text(trainer.pack_prompts(part)) for part in parts])
    rows = {text: row for row, text in enumerate(texts)}
    return features[[rows[caption] for caption in captions]]

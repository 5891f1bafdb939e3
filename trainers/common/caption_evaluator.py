"""Evaluates a run on images with captions, in Dassl's loop over the images."""

from __future__ import annotations

from collections import OrderedDict

import torch

from dassl.evaluation import EvaluatorBase


class CaptionEvaluator(EvaluatorBase):
    """Collects the features of the images. The results are those that the data set's `recalls` returns.

    Args:
        trainer: a ClipTrainer.
        split: val or test.
    """

    def __init__(self, trainer, split: str):
        super().__init__(trainer.cfg)
        self.trainer = trainer
        self.split = split
        self.reset()

    def reset(self) -> None:
        self._features = []
        self._total = 0

    def process(self, mo: torch.Tensor, gt) -> None:
        """Adds the normalised features (B, E) of a batch of images, in the order of the split."""
        self._features.append(mo)
        self._total += len(mo)

    def evaluate(self) -> OrderedDict:
        """Prints the results and returns them unrounded."""
        results = self.trainer.dm.dataset.recalls(self.trainer, torch.cat(self._features), self.split)
        print(f"=> result\n* total: {self._total:,}")
        for name, value in results.items():
            print(f"* {name}: {value:.2f}" + ("" if name.endswith("rank") else "%"))
        return OrderedDict(results)

"""What a classifier predicts for images: logits, probabilities, class names, prediction sets."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from ..classes import distinct
from .calibration import HOW, Calibration


@dataclass(frozen=True)
class Predictions:
    """Predictions for B images: logits (B, n_cls), fp32 on the CPU, and the class names.

    `names`, `top` and `sets` add the label to a class name that several classes have: "sunglasses (class 837)".
    `calibration` is that of the classifier, if it is calibrated.
    """

    logits: torch.Tensor
    classnames: list[str]
    calibration: Calibration | None = None

    @property
    def probabilities(self) -> torch.Tensor:
        """Class probabilities (B, n_cls), at the temperature of the calibration if there is one."""
        temperature = self.calibration.temperature if self.calibration else 1.0
        return (self.logits / temperature).softmax(dim=-1)

    @property
    def names(self) -> list[str]:
        """The predicted class name of each image."""
        names = distinct(self.classnames)
        return [names[i] for i in self.logits.argmax(dim=-1).tolist()]

    def top(self, k: int = 5) -> list[list[tuple[str, float]]]:
        """Returns class names and probabilities of the top k classes per image, in descending order."""
        best = self.probabilities.topk(min(k, len(self.classnames)), dim=-1)
        names = distinct(self.classnames)
        predictions = []
        for indices, probabilities in zip(best.indices.tolist(), best.values.tolist()):
            predictions.append([(names[i], p) for i, p in zip(indices, probabilities)])
        return predictions

    def sets(self, coverage: float = 0.9, generator: np.random.Generator | None = None) -> list[list[str]]:
        """Returns the prediction set of each image: class names, the most probable first. A set may be empty.

        For images like those of the calibration, a set contains the true class with at least this probability.

        Args:
            generator: see `Calibration.sets`.

        Raises:
            ValueError: the classifier is not calibrated, or by too few images for this coverage.
        """
        if self.calibration is None:
            raise ValueError(f"prediction sets need a calibration: run {HOW}, then load_tuned(..., calibrated=True)")
        names = distinct(self.classnames)
        contained = self.calibration.sets(self.logits, coverage, generator)
        order = self.logits.sort(dim=-1, descending=True, stable=True).indices
        return [[names[i] for i in row if inside[i]] for row, inside in zip(order.tolist(), contained.tolist())]

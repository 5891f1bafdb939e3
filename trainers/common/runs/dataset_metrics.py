"""Metrics that belong to a dataset: which result methods are compared by, and results that no evaluator knows.

A dataset may have an attribute `metric`, the name of a result (`accuracy` by default), and a method
`more_metrics(items, outcomes)` that returns further results in percent by name.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:  # tools that only read records do without torch
    import numpy as np
    import torch

ACCURACY = "accuracy"


class Outcomes(NamedTuple):
    """Outcomes of an evaluation, one per image: arrays (n,)."""

    correct: np.ndarray  # whether the prediction is correct
    confidence: np.ndarray  # probability of the predicted class


def metric_of(dataset) -> str:
    """Returns the name of the result that methods are compared by on a dataset."""
    return getattr(dataset, "metric", ACCURACY)


def outcomes_of(labels: list[int], predicted: list[int], confidence: list[torch.Tensor]) -> Outcomes:
    """Returns the outcomes of n images. `confidence` has their largest probabilities, a tensor (B,) per batch."""
    import numpy as np
    import torch

    return Outcomes(np.equal(labels, predicted), torch.cat(confidence).cpu().numpy())


def add(results: dict, evaluator, confidence: list[torch.Tensor], dataset, split: str) -> OrderedDict:
    """Returns the results of an evaluation with those of the dataset, which are printed, and its metric first.

    Dassl's `test` returns the first result, and TEST.FINAL_MODEL best_val selects by it.

    Args:
        confidence: largest probability of each image, a tensor (B,) per batch.
        split: val or test.

    Raises:
        ValueError: the dataset has results of its own, and the evaluator does not have the predictions in the order of
            the images.
    """
    results = OrderedDict(results)
    if hasattr(dataset, "more_metrics"):
        items = getattr(dataset, split)
        labels = getattr(evaluator, "_y_true", None)  # attributes of Dassl's evaluator for classification
        if labels != [item.label for item in items]:
            raise ValueError(
                f"{metric_of(dataset)} needs the predictions in the order of the images: set TEST.EVALUATOR "
                "Classification and DATALOADER.TEST.SAMPLER SequentialSampler"
            )
        outcomes = outcomes_of(labels, evaluator._y_pred, confidence)
        for name, value in dataset.more_metrics(items, outcomes).items():
            print(f"* {name}: {value:.2f}%")
            results[name] = value
    if metric_of(dataset) in results:
        results.move_to_end(metric_of(dataset), last=False)
    return results

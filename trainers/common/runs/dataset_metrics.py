"""Metrics that belong to a dataset: which result methods are compared by, and results that no evaluator knows.

A dataset may have an attribute `metric`, the name of a result (`accuracy` by default), and a method
`more_metrics(items, outcomes)` that returns further results in percent by name.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # tools that only read records do without torch
    from ..outcomes import Outcomes

ACCURACY = "accuracy"


def metric_of(dataset) -> str:
    """Returns the name of the result that methods are compared by on a dataset."""
    return getattr(dataset, "metric", ACCURACY)


def add(results: dict, outcomes: Outcomes | None, dataset, split: str) -> OrderedDict:
    """Returns the results of an evaluation with those of the dataset, which are printed, and its metric first.

    Dassl's `test` returns the first result, and TEST.FINAL_MODEL best_val selects by it.

    Args:
        outcomes: those of the images; None if the evaluator was given something else than logits and labels.
        split: val or test.

    Raises:
        ValueError: the dataset has results of its own, and the outcomes are unknown or not in the order of the images.
    """
    results = OrderedDict(results)
    if hasattr(dataset, "more_metrics"):
        items = getattr(dataset, split)
        if outcomes is None or outcomes.labels.tolist() != [item.label for item in items]:
            raise ValueError(
                f"{metric_of(dataset)} needs the predictions in the order of the images: set TEST.EVALUATOR "
                "Classification and DATALOADER.TEST.SAMPLER SequentialSampler"
            )
        for name, value in dataset.more_metrics(items, outcomes).items():
            print(f"* {name}: {value:.2f}%")
            results[name] = value
    if metric_of(dataset) in results:
        results.move_to_end(metric_of(dataset), last=False)
    return results

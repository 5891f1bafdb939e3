"""Metrics that belong to a dataset come first, and need the predictions in the order of the images."""

from collections import OrderedDict
from types import SimpleNamespace

import pytest
import torch

from tests.user_errors import raises_user_error
from trainers.common.runs import dataset_metrics

RESULTS = OrderedDict(accuracy=50.0, error_rate=50.0, macro_f1=40.0)
CONFIDENCE = [torch.tensor([0.75, 0.5]), torch.tensor([1.0])]  # two batches


def evaluator(labels, predictions):
    return SimpleNamespace(_y_true=labels, _y_pred=predictions)


def dataset(metric, **attributes):
    items = [SimpleNamespace(label=label) for label in (0, 1, 1)]
    return SimpleNamespace(metric=metric, val=items, **attributes)


def test_other_datasets_are_compared_by_accuracy():
    assert dataset_metrics.metric_of(None) == dataset_metrics.metric_of(SimpleNamespace()) == "accuracy"
    for data in (None, SimpleNamespace()):
        assert list(dataset_metrics.add(RESULTS, None, [], data, "test").items()) == list(RESULTS.items())


def test_the_metric_is_the_first_result():
    """Dassl returns the first result of an evaluation, and selects the best epoch by it."""
    results = dataset_metrics.add(RESULTS, None, [], dataset("macro_f1"), "val")
    assert list(results) == ["macro_f1", "accuracy", "error_rate"] and dict(results) == dict(RESULTS)
    assert list(RESULTS)[0] == "accuracy"


def test_results_of_the_dataset(capsys):
    seen = []

    def more_metrics(items, outcomes):
        seen.append((items, outcomes.correct.tolist(), outcomes.confidence.tolist()))
        return {"worst": 12.25}

    data = dataset("worst", more_metrics=more_metrics)
    results = dataset_metrics.add(RESULTS, evaluator([0, 1, 1], [0, 0, 1]), CONFIDENCE, data, "val")
    assert list(results) == ["worst", "accuracy", "error_rate", "macro_f1"] and results["worst"] == 12.25
    assert seen == [(data.val, [True, False, True], [0.75, 0.5, 1.0])]
    assert capsys.readouterr().out == "* worst: 12.25%\n"


@pytest.mark.parametrize("wrong", [evaluator([1, 0, 1], [0, 0, 1]), evaluator([0, 1], [0, 1]), SimpleNamespace()])
def test_predictions_in_another_order(wrong):
    data = dataset("worst", more_metrics=lambda items, outcomes: {})
    with raises_user_error("worst", "TEST.EVALUATOR", "DATALOADER.TEST.SAMPLER", error=ValueError):
        dataset_metrics.add(RESULTS, wrong, CONFIDENCE, data, "val")

"""Checks that the numbers of a record agree with each other: accuracy, error rate, counts."""

import math

from trainers.common.runs.dataset_metrics import ACCURACY


def check_numbers(record: dict, split: str) -> float | None:
    """Returns the accuracy of a finished run in percent; None of a run on captions, which has none.

    Raises:
        ValueError: it is missing or not from 0 to 100, or another field of the record contradicts it.
    """
    metrics = record["metrics"].get(split)
    key = f"metrics.{split}"
    accuracy = metrics.get("accuracy") if isinstance(metrics, dict) else None
    if accuracy is None and (record.get("metric") or ACCURACY) != ACCURACY:
        return None
    if not is_number(accuracy) or not 0 <= accuracy <= 100:  # also rejects nan
        raise ValueError(f"not a valid record: {key}.accuracy must be from 0 to 100, got {accuracy!r:.60}")
    error_rate = metrics.get("error_rate")
    if error_rate is not None and not agree(error_rate, 100 - accuracy):
        raise ValueError(f"contradiction: {key}.accuracy is {accuracy:.60g}, but error_rate is {error_rate!r:.60}")
    total = metrics.get("total")
    correct = metrics.get("correct")
    if total is not None and correct is not None:
        if not (is_number(total) and is_number(correct) and 0 <= correct <= total and total > 0):
            raise ValueError(f"not a valid record: {key} has {correct!r:.60} correct of {total!r:.60} images")
        if not agree(accuracy, 100 * correct / total):
            raise ValueError(f"contradiction: {key}.accuracy is {accuracy:.60g}, but {correct} of {total} are correct")
    images = number_of_images(record.get("content"), split)
    if None not in (images, total) and images != total:
        raise ValueError(f"contradiction: {key}.total is {total}, but content.{split} has {images} images")
    return accuracy


def check_metric(record: dict, split: str) -> float:
    """Returns the metric that runs on the dataset are compared by, in percent. Older records have only the accuracy.

    Raises:
        ValueError: it is missing or not from 0 to 100.
    """
    name = record.get("metric") or ACCURACY
    value = record["metrics"][split].get(name)
    if not is_number(value) or not 0 <= value <= 100:
        raise ValueError(f"not a valid record: metrics.{split}.{name:.60} must be from 0 to 100, got {value!r:.60}")
    return value


def is_number(value) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def agree(one, other: float) -> bool:
    """Returns whether two percentages are equal up to the rounding of floats."""
    return is_number(one) and math.isclose(one, other, rel_tol=0.0, abs_tol=1e-6)


def number_of_images(content, split: str) -> int | None:
    """Returns the number of images of a split, from the record's `content`, or None if it does not tell."""
    images = content.get(split) if isinstance(content, dict) else None
    return images.get("images") if isinstance(images, dict) else None

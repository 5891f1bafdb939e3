"""Logistic regression of scikit-learn, and CoOp's search of its inverse regularisation C."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import lru_cache

import numpy as np
import torch


def fit(features: np.ndarray, labels: np.ndarray, C: float):
    """Returns scikit-learn's classifier (lbfgs, L2), fitted to features (n, D) and labels (n,)."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        return LogisticRegression(C=C, max_iter=1000).fit(features, labels)


def fit_best(train: tuple, val: tuple) -> tuple:
    """Returns the classifier with the C that `search_c` finds, that C, and its accuracy on validation images in [0, 1].

    `train` and `val` are features (n, D) and labels (n,).
    """

    @lru_cache(maxsize=None)
    def fitted(C: float):
        classifier = fit(*train, C)
        return classifier, (classifier.predict(val[0]) == val[1]).mean()

    C = search_c(lambda C: fitted(C)[1])
    classifier, accuracy = fitted(C)
    return classifier, C, accuracy


def search_c(accuracy: Callable[[float], float]) -> float:
    """Returns the best C of seven powers of ten, refined in eight rounds of binary search, as in CoOp's linear probe.

    In a tie, the first of the seven wins, which is the largest, and the smaller one of a round.
    """
    exponent = max((6, 4, 2, 0, -2, -4, -6), key=lambda exponent: accuracy(10.0**exponent))
    left, right = exponent - 1, exponent + 1
    for _ in range(8):
        middle = (left + right) / 2
        if accuracy(10.0**left) < accuracy(10.0**right):
            exponent, left = right, middle
        else:
            exponent, right = left, middle
    return 10.0**exponent


def weights(classifier) -> tuple[torch.Tensor, torch.Tensor]:
    """Returns weight (n_cls, D) and bias (n_cls,) whose softmax equals the classifier's probabilities."""
    weight, bias = torch.from_numpy(classifier.coef_), torch.from_numpy(classifier.intercept_)
    if len(weight) == 1:  # of two classes, scikit-learn has the weights of the second one
        weight, bias = torch.cat([-weight, weight]) / 2, torch.cat([-bias, bias]) / 2
    return weight, bias

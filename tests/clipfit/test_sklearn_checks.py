"""scikit-learn's own checks of an estimator. They give rows of numbers, so each row becomes an image."""

import warnings

import numpy as np
import pytest
from sklearn.utils.estimator_checks import check_estimator
from sklearn.utils.validation import validate_data

import clipfit

SIDE = 8


class OnRows(clipfit.CLIPFit):
    """CLIPFit whose images are rows (n_features,), as stripes."""

    def fit(self, X, y):
        X, y = validate_data(self, X, y)
        return super().fit(stripes(X), y)

    def predict(self, X):
        return super().predict(self.images(X))

    def predict_proba(self, X):
        return super().predict_proba(self.images(X))

    def images(self, X):
        from sklearn.utils.validation import check_is_fitted

        check_is_fitted(self, "classes_")
        return stripes(validate_data(self, X, reset=False))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.string = False
        tags.classifier_tags.poor_score = True  # one epoch on stripes
        return tags


def stripes(X: np.ndarray) -> np.ndarray:
    """Returns images (N, SIDE, n_features) of uint8; a row's value is the grey of a column."""
    grey = 255 / (1 + np.exp(-X.astype("float64")))
    columns = np.repeat(grey, -(-SIDE // X.shape[1]), axis=1).astype("uint8")
    return np.repeat(columns[:, None, :], SIDE, axis=1)[..., None]


def test_the_checks_of_scikit_learn():
    model = OnRows(backbone="micro", epochs=1, verbose=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        results = check_estimator(model, on_fail=None, on_skip=None)
    failed = {r["check_name"]: r["exception"] for r in results if r["status"] not in ("passed", "skipped")}
    assert not failed, failed
    assert sum(r["status"] == "passed" for r in results) > 40

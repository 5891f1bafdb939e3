"""scikit-learn's own checks of an estimator. They give rows of numbers, so each row becomes an image."""

import unittest
import warnings

import numpy as np
from sklearn.utils.estimator_checks import estimator_checks_generator
from sklearn.utils.validation import check_is_fitted, validate_data

import clipfit

SIDE = 8
FAILS = {"check_methods_subset_invariance": "logits of one image at a time differ in the last digits of fp32"}
ONCE = {"check_classifiers_train"}  # given three times, for read-only input; a training on 300 images


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
        check_is_fitted(self, "classes_")
        return stripes(validate_data(self, X, reset=False))

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = True
        tags.input_tags.string = False
        tags.classifier_tags.poor_score = True  # one epoch on stripes
        return tags


def stripes(X: np.ndarray) -> np.ndarray:
    """Returns images (N, SIDE, W, 1) of uint8; each value of a row is the grey of some columns."""
    grey = 255 / (1 + np.exp(-X.astype("float64")))
    columns = np.repeat(grey, -(-SIDE // X.shape[1]), axis=1).astype("uint8")
    return np.repeat(columns[:, None, :], SIDE, axis=1)[..., None]


def test_the_checks_of_scikit_learn():
    passed, failed = [], {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for model, check in estimator_checks_generator(OnRows(backbone="micro", epochs=1, verbose=0)):
            name = check.func.__name__
            if name in ONCE and name in passed:
                continue
            try:
                check(model)
                passed.append(name)
            except unittest.SkipTest as reason:
                assert name == "check_array_api_input", reason
            except Exception as error:
                failed[name] = error
    assert failed.keys() == FAILS.keys(), failed
    assert len(passed) > 40

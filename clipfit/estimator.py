"""Estimators in scikit-learn's manner. Under them is the trainer of train.py, with the same files and numbers."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path

import numpy as np
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.multiclass import check_classification_targets
from sklearn.utils.validation import check_consistent_length, check_is_fitted, column_or_1d

from . import checkout
from .images import as_list
from .training import Labelled, train

FILE = "estimator.json"  # parameters and classes, next to the tuned weights
NOT_SAVED = ("plugins", "output_dir")  # a file from elsewhere must not name code or folders of this machine


class Classifier(ClassifierMixin, BaseEstimator):
    """A method of few-shot fine-tuning of CLIP. `clipfit.CLIPFit`, `clipfit.CoOp`, ... have its own options as well.

    Parameters:
        method: name of the method; see `clipfit.methods()`.
        backbone: a CLIP by name or path, as `--backbone`; "micro" is a small one for tests that comes with the code.
        shots: training images per class, chosen by `seed`; None: all.
        template: prompt template, with {} for the class name; "": that of the method and dataset.
        class_names: names for the prompts. A list in the order of `classes_`, or a dict from label to name; None: the
            labels themselves.
        epochs, lr, batch_size: None: those of the method's recipe (configs/recipes.yaml, protocol fewshot).
        seed: of the few-shot images, the initial values, the order and the augmentation.
        precision: fp32, fp16, bf16, amp; "": fp16 on CUDA, else fp32.
        device: "cpu" or "cuda"; None: CUDA if available.
        config: YAML file of the method, or its name in configs/trainers; "": that of the recipe.
        options: dict of other config keys, such as {"OPTIM.WEIGHT_DECAY": 0.01}. They win over all others.
        plugins: third-party methods or datasets, as `--plugin`.
        output_dir: run directory to keep, as `--output-dir`; None: a temporary one. fit() resumes a run there.
        verbose: 0: silent; 1: a progress bar in terminals and notebooks; 2: the log of the training.

    Attributes, after `fit`:
        classes_: the labels (n_cls,), sorted.
        classifier_: the trained CLIP with more functions (features, other classes): trainers/common/inference.
        result_: the record of the run (result.json), with the test accuracy in `metrics` if there were test images.
    """

    def __init__(
        self, method="CLIPFit", *, backbone="ViT-B/16", shots=None, template="", class_names=None, epochs=None, lr=None,
        batch_size=None, seed=1, precision="", device=None, config="", options=None, plugins=(), output_dir=None,
        verbose=1,
    ):  # fmt: skip
        self.method = method
        self.backbone = backbone
        self.shots = shots
        self.template = template
        self.class_names = class_names
        self.epochs = epochs
        self.lr = lr
        self.batch_size = batch_size
        self.seed = seed
        self.precision = precision
        self.device = device
        self.config = config
        self.options = options
        self.plugins = plugins
        self.output_dir = output_dir
        self.verbose = verbose

    def fit(self, X, y=None, *, validation=None):
        """Trains on images. Returns the estimator.

        Args:
            X: images (see `images.as_list`), or a folder of one folder per class, which is split into train, val and
                test images as train.py does; `result_` then has the accuracy on the test images.
            y: labels (N,), numbers or texts; None for a folder.
            validation: (images, labels), for methods that choose a setting on them.

        Raises:
            ValueError, OSError: a parameter, an image or a label cannot be used.
        """
        classes = None
        if y is None and isinstance(X, (str, os.PathLike)):
            if validation is not None:
                raise ValueError("validation cannot be given with a folder: put the images into its folder val")
            data = os.fspath(X)
        else:
            data, classes = self._label_images(X, y, validation)
        params = self.get_params(deep=False)
        own = {name.rstrip("_").upper(): value for name, value in params.items() if name not in SHARED}
        trained = train({"method": self.method, **params}, own, data)
        self.classifier_, self.result_ = trained
        self.classes_ = np.array(self.classifier_.classnames) if classes is None else classes
        return self

    def _label_images(self, X, y, validation) -> tuple[Labelled, np.ndarray]:
        """Returns the images with labels from 0, and the classes."""
        if y is None:
            raise ValueError(f"{type(self).__name__} requires y to be passed, but the target y is None")
        images, labels = checked(X, y)
        classes = np.unique(labels)
        parts = {"train": (images, np.searchsorted(classes, labels).tolist())}
        if validation is not None:
            images, labels = checked(*validation)
            unknown = sorted(set(labels.tolist()) - set(classes.tolist()))
            if unknown:
                raise ValueError(f"validation has the label {unknown[0]!r}, which is not in y")
            parts["val"] = (images, np.searchsorted(classes, labels).tolist())
        return Labelled(self._names_of(classes.tolist()), parts), classes

    def _names_of(self, classes: list) -> list[str]:
        """Returns the name of each class in the prompts."""
        given = self.class_names
        if given is None:
            return [str(label) for label in classes]
        if isinstance(given, dict):
            missing = [label for label in classes if label not in given]
            if missing:
                raise ValueError(f"class_names has no name for the label {missing[0]!r}")
            return [given[label] for label in classes]
        if isinstance(given, str) or len(given) != len(classes):
            raise ValueError(f"class_names must have {len(classes)} names, one for each of {classes}, got {given!r}")
        return list(given)

    def predict(self, X):
        """Returns the predicted labels (N,). X as in `images.as_list`."""
        best = self._logits(X).argmax(dim=-1).numpy()
        return self.classes_[best]

    def predict_proba(self, X):
        """Returns the probabilities (N, n_cls) of the classes in `classes_`. X as in `images.as_list`."""
        return self._logits(X).double().softmax(dim=-1).numpy()

    def _logits(self, X):
        check_is_fitted(self, "classes_")
        images = as_list(X)
        if not images:
            raise ValueError("Found array with 0 sample(s): at least one image is needed")
        return self._loaded().predict(images).logits

    def _loaded(self):
        """Returns `classifier_`, which a pickled estimator loads when it is needed."""
        if not hasattr(self, "classifier_"):
            classifier = checkout.load("trainers.common.inference.classifier").Classifier
            self.classifier_ = classifier(self._state, "the pickled estimator", device=self.device)
            del self._state
        return self.classifier_

    def __getstate__(self):
        state = super().__getstate__()
        if "classifier_" in state:
            state = {**state, "_state": state["classifier_"].state}
            del state["classifier_"]
        return state

    def save(self, path) -> None:
        """Saves the fitted estimator in a folder, for `clipfit.load`. The programs take the folder as a run, too.

        The backbone is saved by its name only, as in all runs.

        Raises:
            FileExistsError: the folder has other files.
        """
        check_is_fitted(self, "classes_")
        folder = Path(path)
        if folder.exists() and not (folder / FILE).is_file() and (folder.is_file() or any(folder.iterdir())):
            raise FileExistsError(f"{folder} exists and holds no saved estimator: give a new folder")
        folder.mkdir(parents=True, exist_ok=True)
        tuned_weights = checkout.load("trainers.common.runs.tuned_weights")
        tuned_weights.save(self._loaded().state, str(folder / tuned_weights.NAME))
        params = {name: value for name, value in self.get_params(deep=False).items() if name not in NOT_SAVED}
        params["class_names"] = self.class_names and list(self._names_of(self.classes_.tolist()))
        content = {"method": self.method, "generated": type(self) is not Classifier, "params": params,
                   "classes": self.classes_.tolist(), "dtype": self.classes_.dtype.str}  # fmt: skip
        write = checkout.load("trainers.common.runs.files").write_atomically
        write(str(folder / FILE), json.dumps(content, indent=1, default=as_plain) + "\n")

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.input_tags.two_d_array = False
        tags.input_tags.string = True  # paths
        return tags


SHARED = set(inspect.signature(Classifier.__init__).parameters)


def checked(X, y) -> tuple[list, np.ndarray]:
    """Returns images and their labels (N,). Raises ValueError if there are none, or not as many of both."""
    images = as_list(X)
    labels = column_or_1d(y, warn=True)
    check_consistent_length(images, labels)
    if not images:
        raise ValueError("Found array with 0 sample(s): at least one image is needed")
    check_classification_targets(labels)
    return images, labels


def as_plain(value):
    """Returns a parameter that JSON does not know as one that it knows."""
    return value.item() if isinstance(value, np.generic) else str(value)

"""The classifier of a run for requests, which may ask for other classes."""

from __future__ import annotations

import contextlib
import copy
import io
from collections import OrderedDict
from typing import NamedTuple

import torch

from tools.serving.uploads import UploadError
from trainers.common.finite import InvalidLogits
from trainers.common.inference.calibration import model_identity
from trainers.common.inference.classifier import Classifier
from trainers.common.inference.predictions import Predictions

CACHED = 8  # sets of classes whose text features are kept


class Classes(NamedTuple):
    """What a request wants to be predicted. None and "" stand for the classes and the template of the service."""

    names: tuple[str, ...] | None = None
    template: str = ""


class Row(NamedTuple):
    """The logits (n_cls,) of an image, and the classifier that they are of."""

    logits: torch.Tensor
    classifier: Classifier


class Model:
    """Classifiers that share one CLIP. Only the thread of the batches may call `run`.

    Args:
        classifier: calibrated or not.
        uncalibrated: whether classifiers of other classes are to stay so, although the run may have a calibration.
    """

    def __init__(self, classifier: Classifier, uncalibrated: bool = False):
        self.classifier = classifier
        self._uncalibrated = uncalibrated
        self._plain = copy.copy(classifier)  # makes the others, without a note about their calibration
        self._plain.calibration = None
        self._others: OrderedDict[Classes, Classifier] = OrderedDict()

    def warm_up(self) -> None:
        """Computes the text features, so that the first request need not wait for them."""
        side = self.classifier.trainer.backbone.preprocess.size
        self.classifier.predict([torch.zeros(3, side, side)])

    def run(self, classes: Classes, tensors: list[torch.Tensor]) -> list:
        """Returns the Row of each image, or the InvalidLogits in its place.

        Args:
            tensors: (3, side, side), of `Classifier.prepare`.

        Raises UploadError if the method of the run cannot predict these classes.
        """
        classifier = self.classifier_of(classes)
        try:
            return [Row(logits, classifier) for logits in classifier.predict(tensors, len(tensors)).logits]
        except InvalidLogits as error:
            if len(tensors) == 1:
                return [error]
            return [row for tensor in tensors for row in self.run(classes, [tensor])]

    def classifier_of(self, classes: Classes) -> Classifier:
        if classes == Classes():
            return self.classifier
        if classes not in self._others:
            names = self.classifier.classnames if classes.names is None else list(classes.names)
            with contextlib.redirect_stderr(io.StringIO()):  # notes, which may have the names of a request
                try:
                    other = self._plain.with_classes(names, classes.template)
                except ValueError as error:
                    raise UploadError(str(error), 422) from error
            if not self._uncalibrated:
                with contextlib.suppress(ValueError, OSError):  # as tools/predict.py --classes, not calibrated
                    other.use_calibration()
            self._others[classes] = other
            if len(self._others) > CACHED:
                self._others.popitem(last=False)
        self._others.move_to_end(classes)
        return self._others[classes]

    def describe(self) -> dict:
        """Returns what /version says of the model."""
        classifier = self.classifier
        identity = model_identity(classifier.state, classifier.trainer, classifier.classnames)
        calibration = classifier.calibration
        return {
            "method": identity["method"],
            "backbone": classifier.trainer.cfg.MODEL.BACKBONE.NAME,
            "backbone_fingerprint": identity["backbone"],
            "weights": identity["weights"],
            "epoch": classifier.state["epoch"],
            "classes": len(classifier.classnames),
            "temperature": calibration.temperature if calibration else None,
            "precision": classifier.trainer.precision,
            "device": str(classifier.trainer.device),
        }


def predictions(rows: list[Row]) -> Predictions:
    """Returns the rows of a request as predictions."""
    classifier = rows[0].classifier
    return Predictions(torch.stack([row.logits for row in rows]), classifier.classnames, classifier.calibration)

"""Accuracy, macro F1, per-class accuracy and confusion matrix of a classifier."""

import os
from collections import OrderedDict

import numpy as np
import torch

from dassl.utils import mkdir_if_missing, open_atomic
from dassl.utils.rng import keep_python_random

from .build import EVALUATOR_REGISTRY


class EvaluatorBase:
    """Interface: `reset()`, `process()` every batch, `evaluate()` at the end."""

    def __init__(self, cfg):
        self.cfg = cfg

    def reset(self) -> None:
        raise NotImplementedError

    def process(self, mo, gt) -> None:
        raise NotImplementedError

    def evaluate(self) -> OrderedDict:
        raise NotImplementedError


@EVALUATOR_REGISTRY.register()
class Classification(EvaluatorBase):
    """Counts correct predictions; results are percentages."""

    def __init__(self, cfg, lab2cname: dict | None = None, **kwargs):
        super().__init__(cfg)
        if cfg.TEST.PER_CLASS_RESULT and lab2cname is None:
            raise ValueError("TEST.PER_CLASS_RESULT needs the class names: pass lab2cname to the evaluator")
        self._lab2cname = lab2cname
        self.reset()

    def reset(self) -> None:
        self._correct = 0
        self._total = 0
        self._y_true = []
        self._y_pred = []

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """Add a batch: model output (B, n_cls) and labels (B,)."""
        y_pred, y_true = mo.max(dim=1).indices.tolist(), gt.tolist()
        self._correct += sum(p == t for p, t in zip(y_pred, y_true, strict=True))
        self._total += len(y_true)
        self._y_pred += y_pred
        self._y_true += y_true

    @keep_python_random()
    def evaluate(self) -> OrderedDict:
        """Print and return the results, unrounded; `accuracy` comes first.

        Raises ValueError if nothing has been processed.
        """
        from sklearn.metrics import f1_score  # slow to import, needed only here

        if not self._total:
            raise ValueError("Nothing to evaluate: no batch has been processed")
        accuracy = 100.0 * self._correct / self._total
        labels = np.unique(self._y_true)
        macro_f1 = 100.0 * f1_score(self._y_true, self._y_pred, average="macro", labels=labels)
        results = OrderedDict(accuracy=accuracy, error_rate=100.0 - accuracy, macro_f1=float(macro_f1))
        print("=> result")
        print(f"* total: {self._total:,}")
        print(f"* correct: {self._correct:,}")
        print(f"* accuracy: {accuracy:.2f}%")
        print(f"* error: {100.0 - accuracy:.2f}%")
        print(f"* macro_f1: {macro_f1:.2f}%")
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._per_class()
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_confusion_matrix()
        return results

    def _per_class(self) -> float:
        """Print the accuracy of each class that has images; return their mean."""
        y_true, y_pred = np.array(self._y_true), np.array(self._y_pred)
        accuracies = []
        print("=> per-class result")
        for label in np.unique(y_true).tolist():
            hits = y_pred[y_true == label] == label
            accuracies.append(100.0 * hits.mean())
            print(
                f"* class: {label} ({self._lab2cname[label]})\t"
                f"total: {len(hits):,}\tcorrect: {hits.sum():,}\tacc: {accuracies[-1]:.2f}%"
            )
        print(f"* average: {np.mean(accuracies):.2f}%")
        return float(np.mean(accuracies))

    def _save_confusion_matrix(self) -> None:
        """Write OUTPUT_DIR/cmat.pt: a tensor, rows are true classes and sum to one."""
        from sklearn.metrics import confusion_matrix

        matrix = confusion_matrix(self._y_true, self._y_pred, normalize="true")
        path = os.path.join(self.cfg.OUTPUT_DIR, "cmat.pt")
        mkdir_if_missing(self.cfg.OUTPUT_DIR)
        with open_atomic(path, "wb") as file:
            torch.save(torch.from_numpy(matrix), file)
        print(f"Confusion matrix is saved to {path}")

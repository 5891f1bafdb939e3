"""Accuracy, macro F1, per-class accuracy and confusion matrix of a classifier."""

import csv
import os
from collections import OrderedDict

import numpy as np
import torch

from dassl.utils import mkdir_if_missing

from .build import EVALUATOR_REGISTRY


class EvaluatorBase:
    """Interface of evaluators: call `reset()`, then `process()` per batch, then `evaluate()`."""

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
    """Computes accuracy, error rate and macro F1 in percent."""

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
        self._n_cls = 0

    def process(self, mo: torch.Tensor, gt: torch.Tensor) -> None:
        """Adds a batch: model output (B, n_cls) and labels (B,)."""
        y_pred = mo.max(dim=1).indices.tolist()
        y_true = gt.tolist()
        self._correct += sum(p == t for p, t in zip(y_pred, y_true, strict=True))
        self._total += len(y_true)
        self._y_pred += y_pred
        self._y_true += y_true
        self._n_cls = max(self._n_cls, mo.shape[1])

    def evaluate(self) -> OrderedDict:
        """Prints the results and returns them unrounded, `accuracy` first.

        Raises ValueError if no batch has been processed.
        """
        if not self._total:
            raise ValueError("Nothing to evaluate: no batch has been processed")
        labels, counts = self._confusion()
        accuracy = 100.0 * self._correct / self._total
        macro_f1 = 100.0 * _f1(counts)[counts.any(axis=1)].mean()
        results = OrderedDict(accuracy=accuracy, error_rate=100.0 - accuracy, macro_f1=float(macro_f1))
        print("=> result")
        print(f"* total: {self._total:,}")
        print(f"* correct: {self._correct:,}")
        print(f"* accuracy: {accuracy:.2f}%")
        print(f"* error: {100.0 - accuracy:.2f}%")
        print(f"* macro_f1: {macro_f1:.2f}%")
        if self.cfg.TEST.PER_CLASS_RESULT:
            results["perclass_accuracy"] = self._per_class(labels, counts)
        if self.cfg.TEST.COMPUTE_CMAT:
            self._save_confusion_matrix(labels, counts)
        return results

    def _confusion(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns the labels that occur as true or predicted label (n,), and the confusion matrix in images (n, n).

        Does not use scikit-learn, whose import takes longer than many evaluations.

        Example: true labels [2, 2, 5] and predictions [2, 5, 5] give labels [2, 5] and counts [[1, 1], [0, 1]].
        """
        labels, indices = np.unique([self._y_true, self._y_pred], return_inverse=True)
        counts = np.zeros((len(labels), len(labels)), dtype=int)
        np.add.at(counts, tuple(indices.reshape(2, -1)), 1)
        return labels, counts

    def _per_class(self, labels: np.ndarray, counts: np.ndarray) -> float:
        """Prints the accuracy of each class that has images; returns the mean."""
        accuracies = []
        print("=> per-class result")
        for label, total, correct in zip(labels.tolist(), counts.sum(axis=1), counts.diagonal(), strict=True):
            if total == 0:
                continue
            accuracies.append(100.0 * (correct / total))
            print(
                f"* class: {label} ({self._lab2cname[label]})\t"
                f"total: {total:,}\tcorrect: {correct:,}\tacc: {accuracies[-1]:.2f}%"
            )
        print(f"* average: {np.mean(accuracies):.2f}%")
        return float(np.mean(accuracies))

    def _save_confusion_matrix(self, labels: np.ndarray, counts: np.ndarray) -> None:
        """Saves the confusion matrix (n_cls, n_cls): a row per true class and a column per predicted class, by label.

        OUTPUT_DIR/cmat.pt has fractions: each row sums to 1, or is 0 if the class has no images. OUTPUT_DIR/cmat.csv
        has numbers of images, and the class names.
        """
        n_cls = max(self._n_cls, int(labels.max()) + 1)
        matrix = np.zeros((n_cls, n_cls), dtype=int)
        matrix[np.ix_(labels, labels)] = counts
        mkdir_if_missing(self.cfg.OUTPUT_DIR)
        path = os.path.join(self.cfg.OUTPUT_DIR, "cmat.pt")
        torch.save(torch.from_numpy(matrix / matrix.sum(axis=1, keepdims=True).clip(1)), path)
        names = [(self._lab2cname or {}).get(label, "") for label in range(n_cls)]
        table = os.path.join(self.cfg.OUTPUT_DIR, "cmat.csv")
        with open(table, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(["label", "class", *names])
            writer.writerows(
                [label, name, *row] for label, (name, row) in enumerate(zip(names, matrix.tolist(), strict=True))
            )
        print(f"Confusion matrix is saved to {path}, with class names to {table}")


def _f1(counts: np.ndarray) -> np.ndarray:
    """Returns F1 per label (n,): 2 TP / (2 TP + FP + FN), whose denominator is true plus predicted images."""
    return 2 * counts.diagonal() / (counts.sum(axis=0) + counts.sum(axis=1))

"""The confusion matrix, ordered so that confused classes are neighbours, and the accuracy per class."""

from dataclasses import dataclass

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from trainers.common.metrics import confusion_matrix

from .run import ShownRun

SHOWN = 30  # classes of a confusion matrix


@dataclass(frozen=True)
class Confusion:
    """A part of a confusion matrix.

    Attributes:
        names: the k classes, in the order of the matrix.
        counts: (k, k) images by true class (row) and predicted class (column).
        others: (k,) images of each class that are predicted as a class that is not shown.
        total: number of all classes.
    """

    names: list[str]
    counts: np.ndarray
    others: np.ndarray
    total: int

    def share(self, row: int, column: int) -> float:
        """Returns the share of a cell in the images of its true class, 0 to 1."""
        return self.counts[row, column] / max(1, self.counts[row].sum() + self.others[row])


def confusion(run: ShownRun) -> Confusion:
    """Returns the confusion matrix of a run with predictions. Of more than SHOWN classes, `worst` are in it."""
    names = run.classnames
    matrix = confusion_matrix(run.tested.labels, run.tested.predicted, len(names))
    shown = ordered(matrix, worst(matrix, SHOWN))
    counts = matrix[np.ix_(shown, shown)]
    others = matrix[shown].sum(axis=1) - counts.sum(axis=1)
    return Confusion([names[i] for i in shown], counts, others, len(names))


def worst(matrix: np.ndarray, limit: int) -> list[int]:
    """Returns the classes of the most frequent confusions, at most `limit` (all, if there are no more), in their order.

    The confusions of two classes are the images of one that are predicted as the other.
    """
    n_cls = len(matrix)
    if n_cls <= limit:
        return list(range(n_cls))
    rows, columns = np.triu_indices(n_cls, 1)
    confusions = (matrix + matrix.T)[rows, columns]
    found = set()
    for index in np.argsort(-confusions, kind="stable"):
        pair = {int(rows[index]), int(columns[index])}
        if confusions[index] == 0 or len(found | pair) > limit:
            break
        found |= pair
    return sorted(found)


def ordered(matrix: np.ndarray, classes: list[int]) -> list[int]:
    """Returns the classes in an order in which confused ones are neighbours.

    The distance of two classes is 1 - (the share of the one's images that are predicted as the other, averaged over
    both directions). Classes are clustered by average linkage, and the leaves ordered so that the sum of the distances
    of neighbours is as small as the tree allows (Bar-Joseph et al. 2001).
    """
    if len(classes) < 3:
        return list(classes)
    part = matrix[np.ix_(classes, classes)] / np.maximum(matrix.sum(axis=1)[classes], 1)[:, None]
    distances = 1 - (part + part.T) / 2
    np.fill_diagonal(distances, 0)
    tree = linkage(squareform(distances, checks=False), method="average", optimal_ordering=True)
    return [classes[i] for i in leaves_list(tree)]


def per_class(run: ShownRun) -> list[dict]:
    """Returns name, number of images, accuracy of zero-shot CLIP and of the run in percent (None: unknown) per class.

    From the record, so that it needs no predictions. Classes without images are left out.
    """
    counts = run.trust.get("per_class") or {}
    before = run.zero_shot.get("correct") or [None] * len(run.classnames)
    rows = []
    for name, images, after, zero_shot in zip(
        run.classnames, counts.get("images", ()), counts.get("correct", ()), before, strict=False
    ):
        if images:
            zero_shot = None if zero_shot is None else 100 * zero_shot / images
            rows.append({"name": name, "images": images, "zero_shot": zero_shot, "accuracy": 100 * after / images})
    return rows

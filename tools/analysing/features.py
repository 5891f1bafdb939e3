"""Features of the test images by zero-shot CLIP and by a run, and numbers of how well they separate the classes."""

import contextlib
import io
from dataclasses import dataclass

import numpy as np
import torch

from tools.run_trainer import trainer_with_data
from trainers.common.cached_features import ordered_loader
from trainers.common.runs import checkpoint

from .runs import AnalysedRun

NEIGHBOURS = 5  # of the nearest-neighbour accuracy


@dataclass(frozen=True)
class Features:
    """Normalised features of n test images.

    Attributes:
        zero_shot, tuned: (n, E) by the frozen and the tuned image encoder.
        labels: (n,) class of each image.
        total: number of test images; n may be a sample of them.
    """

    zero_shot: np.ndarray
    tuned: np.ndarray
    labels: np.ndarray
    paths: list[str]
    classnames: list[str]
    total: int

    @property
    def differ(self) -> bool:
        """Whether fine-tuning changed any feature. It does not if a method changes text features or logits only."""
        return not np.array_equal(self.zero_shot, self.tuned)


def build_with_data(run: AnalysedRun, root: str = "", batch_size: int = 100, workers: int = 2, backbone: str = ""):
    """Returns the trainer of a run with its dataset and its tuned weights.

    Raises FileNotFoundError or ValueError if the dataset is not in `root` (default: that of the run).
    """
    options = {"root": root, "batch_size": batch_size, "workers": workers, "backbone": backbone}
    trainer = trainer_with_data(run.state, run.path, **options)
    with contextlib.redirect_stdout(io.StringIO()):
        checkpoint.apply_state(trainer, run.state, run.path)
        trainer.set_model_mode("eval")
    return trainer


def features(trainer, images: int = 2000, seed: int = 1) -> Features:
    """Returns the features of the test images of a trainer, or of a random sample of `images` of them.

    Raises ValueError if there are no test images.
    """
    test = trainer.dm.dataset.test
    if not test:
        raise ValueError(f"{trainer.cfg.DATASET.NAME} has no test images")
    order = torch.randperm(len(test), generator=torch.Generator().manual_seed(seed)).tolist()
    items = [test[i] for i in sorted(order[:images])]
    zero_shot, tuned = [], []
    with torch.inference_mode(), trainer.autocast(), contextlib.redirect_stdout(io.StringIO()):
        for batch in ordered_loader(trainer.cfg, items):
            image, _ = trainer.parse_batch_test(batch)
            zero_shot.append(trainer.encode_image(image, tuned=False).float().cpu())
            tuned.append(trainer.encode_image(image).float().cpu())
    if zero_shot[0].dim() > 2:
        raise ValueError(f"{trainer.backbone.name} has several features per image, and a picture shows one")
    return Features(
        torch.cat(zero_shot).numpy(),
        torch.cat(tuned).numpy(),
        np.array([item.label for item in items]),
        [item.impath for item in items],
        [trainer.lab2cname[label] for label in sorted(trainer.lab2cname)],
        len(test),
    )


def separation(vectors: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Returns how well normalised features (n, E) separate their labels (n,). NaN if it is undefined.

    silhouette: mean silhouette coefficient with the cosine distance, -1 to 1.
    neighbours: accuracy in percent of predicting each image by the majority of its NEIGHBOURS nearest others; in a tie,
        by the nearest of the tied classes.
    """
    from sklearn.metrics import silhouette_score
    from sklearn.neighbors import NearestNeighbors

    n_images, n_classes = len(labels), len(set(labels.tolist()))
    silhouette = accuracy = float("nan")
    if 2 <= n_classes < n_images:
        silhouette = float(silhouette_score(vectors, labels, metric="cosine"))
    if n_images > NEIGHBOURS:
        nearest = NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine").fit(vectors)
        neighbours = labels[nearest.kneighbors(return_distance=False)]  # (n, NEIGHBOURS), the nearest first
        predicted = np.array([majority(row.tolist()) for row in neighbours])
        accuracy = 100 * float((predicted == labels).mean())
    return {"silhouette": silhouette, "neighbours": accuracy}


def majority(labels: list[int]) -> int:
    """Returns the most frequent label; among equally frequent ones, the first."""
    return max(labels, key=labels.count)

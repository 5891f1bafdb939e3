"""What metrics need to know about each image of an evaluation, computed from logits, and all metrics of it.

An evaluation of 50,000 images and 1,000 classes has 200 MB of logits, and 1.5 MB of outcomes.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
import torch

from . import metrics

TOP = 5  # top-5 accuracy; only defined with more classes


@dataclass(frozen=True)
class Outcomes:
    """Outcomes of N images: arrays (N,), or tensors on the device of the logits while they are collected."""

    labels: np.ndarray  # true class
    predicted: np.ndarray  # predicted class
    confidence: np.ndarray  # probability of the predicted class
    true_probability: np.ndarray  # probability of the true class
    nll: np.ndarray  # -log of the probability of the true class, in nats
    brier: np.ndarray  # sum over the classes of (probability - 1 for the true class or 0)^2; 0 to 2
    ranks: np.ndarray  # number of classes before the true one in the order of the logits
    margin: np.ndarray  # logit of class 1 - logit of class 0; only used with two classes

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def correct(self) -> np.ndarray:
        """Whether the predicted class is the true one (N,)."""
        return self.predicted == self.labels


@torch.no_grad()
def of_batch(logits: torch.Tensor, labels: torch.Tensor) -> Outcomes:
    """Returns the outcomes of a batch as tensors (B,), from logits (B, n_cls) and labels (B,). Does not wait for a GPU.

    Logits may be log probabilities. Of equal logits, the first is before the others.
    """
    logits = logits.detach().float()
    labels = labels.to(logits.device)
    log_p = logits.log_softmax(dim=1)
    p = log_p.exp()
    true = labels[:, None]
    true_log_p, true_p, true_logit = (values.gather(1, true)[:, 0] for values in (log_p, p, logits))
    predicted = logits.argmax(dim=1)
    classes = torch.arange(logits.shape[1], device=logits.device)
    before = (logits > true_logit[:, None]) | ((logits == true_logit[:, None]) & (classes < true))
    return Outcomes(
        labels=labels,
        predicted=predicted,
        confidence=p.gather(1, predicted[:, None])[:, 0],
        true_probability=true_p,
        nll=-true_log_p,
        brier=p.square().sum(dim=1) - 2 * true_p + 1,
        ranks=before.sum(dim=1),
        margin=logits[:, min(1, logits.shape[1] - 1)] - logits[:, 0],
    )


def join(batches: list[Outcomes]) -> Outcomes:
    """Returns the outcomes of several batches as one, in NumPy arrays. Raises ValueError if there is no batch."""
    if not batches:
        raise ValueError("no outcomes: no batch has been evaluated")
    names = [field.name for field in fields(Outcomes)]
    return Outcomes(**{name: torch.cat([getattr(batch, name) for batch in batches]).cpu().numpy() for name in names})


def of_logits(logits, labels) -> Outcomes:
    """Returns the outcomes of logits (N, n_cls) and labels (N,), tensors or arrays, as NumPy arrays.

    For probabilities, pass their logarithms.
    """
    return join([of_batch(torch.as_tensor(logits), torch.as_tensor(labels))])


def summary(outcomes: Outcomes, n_cls: int) -> dict[str, float | None]:
    """Returns all metrics of an evaluation by name.

    In percent, except `nll` (nats) and `brier` (0 to 2). A metric that is not defined is None: top-5 accuracy with five
    classes or fewer, AUROC unless there are two classes that both have images, NLL if a probability is 0.
    """
    correct, labels, predicted = outcomes.correct, outcomes.labels, outcomes.predicted
    low, high = metrics.wilson_interval(int(correct.sum()), len(outcomes))
    ece, mce = metrics.calibration_errors(outcomes.confidence, correct)
    auroc = metrics.auroc(outcomes.margin, labels == 1) if n_cls == 2 else None
    nll = float(outcomes.nll.mean(dtype=float))
    fractions = {
        "accuracy": float(correct.mean()),
        "accuracy_low": low,
        "accuracy_high": high,
        "balanced_accuracy": metrics.balanced_accuracy(labels, predicted, n_cls),
        "top5_accuracy": metrics.top_k_accuracy(outcomes.ranks, TOP) if n_cls > TOP else None,
        "macro_f1": metrics.macro_f1(labels, predicted, n_cls),
        "ece": ece,
        "mce": mce,
        "auroc": auroc,
    }
    percent = {name: None if value is None else 100 * value for name, value in fractions.items()}
    return {**percent, "nll": nll if np.isfinite(nll) else None, "brier": float(outcomes.brier.mean(dtype=float))}

"""Numbers of a robustness evaluation: means per severity, relative drop, paired differences, mean corruption error."""

import statistics
from dataclasses import dataclass

import numpy as np

from datasets.imagenet_c import CORRUPTIONS as ALEXNET_ERRORS
from datasets.imagenet_c import SEVERITIES
from runtime.decimals import decimals
from tools.reporting.stats import Stat, over_seeds
from trainers.common.metrics import NORMAL

from .catalogue import CLEAN, EXTRA, IMAGENET_C, Condition
from .evaluation import Evaluation
from .models import Model


@dataclass(frozen=True)
class Difference:
    """Accuracy of a row minus that of its zero-shot CLIP on the same images, in percentage points.

    Attributes:
        half_width: of the 95 % interval over the images; None for a single image.
    """

    mean: float
    half_width: float | None

    def __str__(self) -> str:
        mean = decimals(self.mean, 2, "+")
        return mean if self.half_width is None else f"{mean} ± {self.half_width:.2f}"


@dataclass(frozen=True)
class Row:
    """Runs that differ only by their seed, or a zero-shot CLIP.

    Attributes:
        reference: the row of its zero-shot CLIP; None for that row itself.
    """

    label: str
    models: list[Model]
    evaluation: Evaluation
    reference: "Row | None" = None

    @property
    def zero_shot(self) -> bool:
        return self.reference is None

    def accuracy(self, *conditions: Condition) -> Stat:
        """Returns the mean accuracy in percent over conditions, per seed."""
        return over_seeds(
            {model.seed: statistics.fmean(self.evaluation[model, each].accuracy for each in conditions)
             for model in self.models}
        )  # fmt: skip

    def drop(self, *conditions: Condition) -> Stat:
        """Returns the relative drop: the share of the clean accuracy that is lost on average, in percent, per seed."""
        clean, corrupted = self.accuracy(Condition(CLEAN)).seeds, self.accuracy(*conditions).seeds
        drops = {seed: 100 * (1 - corrupted[seed] / clean[seed]) if clean[seed] else float("nan") for seed in clean}
        return over_seeds(drops)

    def hits(self, *conditions: Condition) -> np.ndarray:
        """Returns for each image the share of seeds and conditions in which it is predicted correctly, (n,)."""
        return np.mean([self.evaluation[model, each].correct for model in self.models for each in conditions], axis=0)

    def difference(self, *conditions: Condition) -> Difference:
        """Returns the mean difference from zero-shot CLIP over conditions, with its paired interval over the images.

        The conditions and seeds of one image are not independent, so the images are the sample: n differences.
        """
        differences = 100 * (self.hits(*conditions) - self.reference.hits(*conditions))
        n = len(differences)
        half = NORMAL * float(differences.std(ddof=1)) / n**0.5 if n > 1 else None
        return Difference(float(differences.mean()), half)

    def mce(self) -> Stat:
        """Returns the mean corruption error in percent, per seed."""
        errors = {
            name: self.accuracy(*(Condition(name, severity) for severity in SEVERITIES)).seeds for name in IMAGENET_C
        }
        return over_seeds(
            {model.seed: mean_corruption_error({name: 100 - seeds[model.seed] for name, seeds in errors.items()})
             for model in self.models}
        )  # fmt: skip


def mean_corruption_error(errors: dict[str, float]) -> float:
    """Returns mCE in percent: the mean over the corruptions of the error divided by AlexNet's.

    Args:
        errors: corruption -> mean error over the five severities, in percent.
    """
    return statistics.fmean(errors[name] / alexnet for name, alexnet in ALEXNET_ERRORS.items())


def has_mce(conditions: list[Condition], dataset: str, classes: str) -> bool:
    """Whether mCE is defined: all corruptions in all severities, on all classes of ImageNet."""
    needed = {Condition(name, severity) for name in IMAGENET_C for severity in SEVERITIES}
    return dataset == "ImageNet" and classes == "all" and needed <= set(conditions)


def rows_of(evaluation: Evaluation) -> list[Row]:
    """Returns the rows of an evaluation, zero-shot CLIPs first. Models must be labelled."""
    references: dict[int, Row] = {}
    groups: dict[str, list[Model]] = {}
    for model in evaluation.models:
        if model.reference is None:
            references[id(model)] = Row(model.label, [model], evaluation)
        else:
            groups.setdefault(model.label, []).append(model)
    tuned = [Row(label, members, evaluation, references[id(members[0].reference)]) for label, members in groups.items()]
    return [*references.values(), *tuned]


def in_mean(conditions: list[Condition]) -> list[Condition]:
    """Returns the corruptions that count in means: those of ImageNet-C; the extra ones if there are no others."""
    main = [each for each in conditions if each.name in IMAGENET_C]
    return main or [each for each in conditions if each.name in EXTRA]

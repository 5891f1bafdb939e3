"""Captions that explain the numbers of a report."""

from .comparison import Comparison
from .tables import Table

SPREAD = (
    "Accuracy in %: mean ± population standard deviation over seeds, as in CoOp's parse_test_res.py. The 95 % "
    "confidence interval of the mean is in brackets (Student's t, sample standard deviation). Means are computed from "
    "unrounded accuracies. The spread of an average uses the seeds that all of its datasets have. Bold: highest mean. "
    "Bars and bands in plots: one standard deviation."
)
PROTOCOLS = {
    "base2new": (
        "Trained on the base classes, the first half; tested on the base classes (Base) and on the new classes (New). "
        "H is the harmonic mean of the mean Base and the mean New. In averages, it is the harmonic mean of the average "
        "Base and the average New. The spread of H is that of H per seed. If some seeds have both Base and New, seeds "
        "with only one of them are not counted."
    ),
    "fewshot": "Trained and tested on all classes. One column per number of training images per class; 0: zero-shot.",
    "cross_dataset": (
        "Trained on all classes of {source}, tested on the other datasets without further training. The average is "
        "over the other datasets, without {source}."
    ),
    "domain_shift": "Trained on all classes of {source}, tested on other images of the same classes.",
}
PUBLISHED = (
    "Published: the number that the authors of the method print; if none is known, the one that another source prints: "
    '"copied" from the authors, or by "others", who ran the method or do not say. "Also printed" has the numbers of '
    "other sources that differ from it. Sources: configs/published.yaml. They print means over seeds without their "
    "standard deviation. A number is marked if the variation between seeds does not explain the difference: it lies "
    "outside the 95 % prediction interval for the mean of m more seeds, where m is the number of seeds of the source, "
    "or 1 if it states none. The half-width of the interval is t(n - 1) s sqrt(1/n + 1/m) plus the rounding of the "
    "print; s is the sample standard deviation of our n seeds. With one seed there is no interval (shown as ?), except "
    'for zero-shot CLIP, which does not depend on the seed. Settings: "recipe" if the settings are those of '
    'configs/recipes.yaml, otherwise the differences from them; "no recipe" if it has none for the method, or if the '
    "run is from other code. Its settings are those of the papers, if they publish any."
)


def caption(table: Table) -> str:
    return PROTOCOLS[table.key.protocol].format(source=table.key.source)


def published_caption(comparisons: list[Comparison]) -> str:
    """Returns the caption of a comparison, with the number of marks and the number expected by chance."""
    judged = [item for item in comparisons if item.outside is not None]
    marked = sum(item.outside for item in judged)
    expected = 0.05 * sum(not item.row.zero_shot for item in judged)
    chance = f"about {expected:.0f}" if expected >= 1 else "less than one"
    return f"{PUBLISHED} Marked: {marked} of {len(judged)}; expected by chance alone: {chance}."

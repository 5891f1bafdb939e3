"""What the numbers of a report mean, in words."""

from .paper import Comparison
from .tables import Table

SPREAD = (
    "Accuracy in %: mean ± population standard deviation over seeds, as CoOp's parse_test_res.py has it; in brackets "
    "the 95 % confidence interval of the mean (Student's t with the sample standard deviation). Nothing is rounded "
    "before it is averaged. The spread of an average is over the seeds that all of its datasets have. Bold: the "
    "highest mean. Bars and bands in plots: one standard deviation."
)
PROTOCOLS = {
    "base2new": (
        "Trained on the base classes, the first half; tested on these (Base) and on the other half (New). H is the "
        "harmonic mean of the mean Base and the mean New, in averages that of the average Base and New; its spread is "
        "that of the seeds' own H. Only seeds with both are counted where there are any."
    ),
    "fewshot": "Trained and tested on all classes, a column for each number of training images a class. 0: zero-shot.",
    "cross_dataset": (
        "Trained on all classes of {source}, tested on the other datasets without further training. The average is "
        "over these others, without {source}."
    ),
    "domain_shift": "Trained on all classes of {source}, tested on other images of the same classes.",
}
PAPER = (
    "The paper's numbers are means of three seeds, printed without their spread. Marked are those that the seeds do "
    "not explain: they lie outside the 95 % prediction interval for the mean of three more seeds, which reaches "
    "t(n - 1) s sqrt(1/n + 1/3) to either side of one's own mean, with the sample standard deviation s of one's own n "
    "seeds, widened by the rounding of the print. With one seed nothing can be said (?), except of zero-shot CLIP, "
    "which does not depend on the seed. Settings: \"recipe\" if they are those of configs/recipes.yaml, which follow "
    "the papers where these publish them; else what differs. \"no recipe\": that is not known, as for other code."
)


def caption(table: Table) -> str:
    return PROTOCOLS[table.key.protocol].format(source=table.key.source)


def paper_caption(comparisons: list[Comparison]) -> str:
    judged = [item for item in comparisons if item.outside is not None]
    marked = sum(item.outside for item in judged)
    expected = 0.05 * sum(not item.row.zero_shot for item in judged)
    chance = f"about {expected:.0f}" if expected >= 1 else "less than one"
    return f"{PAPER} Marked here: {marked} of {len(judged)}; {chance} would be by chance alone."

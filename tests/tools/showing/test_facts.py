"""Numbers and words of the page, from the run record."""

from pathlib import Path

import numpy as np
import pytest

from tools.showing import facts
from tools.showing.run import ShownRun


def shown(**record):
    record = {"settings": {}, "identity": {"trainer": "CLIPFit", "backbone": "b"}, "metrics": {}, **record}
    return ShownRun("run", Path("run"), "result.json", record)


@pytest.mark.parametrize("gained, lost, n", [(30, 10, 540), (0, 0, 5), (3, 3, 6), (0, 7, 7)])
def test_the_paired_interval_is_that_of_the_differences_per_image(gained, lost, n):
    differences = 100 * np.array([1] * gained + [-1] * lost + [0] * (n - gained - lost))
    mean, half = facts.paired_difference(gained, lost, n)
    assert mean == pytest.approx(differences.mean())
    assert half == pytest.approx(1.959964 * differences.std(ddof=1) / n**0.5)


def test_one_image_has_no_interval():
    assert facts.paired_difference(1, 0, 1) == (100, None)


def test_the_command_is_quoted_for_a_shell():
    run = shown(command=["train.py", "--root", "my data", "DATASET.TEMPLATE", "a photo of a {}."])
    assert facts.command(run) == "python train.py --root 'my data' DATASET.TEMPLATE 'a photo of a {}.'"
    assert facts.command(shown(command=["clipfit train", "--root", "my data"])) == "clipfit train --root 'my data'"
    assert facts.command(shown(command=["/usr/bin/pytest", "-q"])) == ""


def test_results_stand_next_to_those_of_zero_shot_clip():
    own = {"accuracy": 80.0, "accuracy_low": 76.4, "accuracy_high": 83.2, "nll": 0.5, "total": 500, "wild_metric": 12.0}
    before = {"accuracy": 76.0, "accuracy_low": 72.1, "accuracy_high": 79.5, "nll": 0.75}
    trust = {"zero_shot": {"metrics": before, "only_run": 40, "only_zero_shot": 20}}
    accuracy, nll, other = facts.results(shown(metrics={"test": own}, trust=trust))
    assert (accuracy.before, accuracy.after, accuracy.difference) == ("76.00 %", "80.00 %", "+4.00")
    half = 1.959964 * 100 * np.std([1] * 40 + [-1] * 20 + [0] * 440, ddof=1) / 500**0.5
    assert accuracy.intervals == ("72.1 to 79.5", "76.4 to 83.2", f"{4 - half:+.1f} to {4 + half:+.1f}")
    assert (nll.before, nll.after, nll.difference) == ("0.750", "0.500", "-0.250")
    assert (other.title, other.after) == ("Wild metric", "12.00 %")

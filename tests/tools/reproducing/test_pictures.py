"""Figures of several seeds: mean and spread, or the seed that is shown."""

import csv

import numpy as np
import pytest

from tools.analysing.change import change
from tools.analysing.runs import load_run

SEEDS = ("1", "2")


@pytest.fixture(scope="module")
def page(in_process, tmp_path_factory):
    """The output folder of some figures with two seeds."""
    output = tmp_path_factory.mktemp("out")
    argv = ("figure3", "figure5", "figure11", "--rehearse", "--datasets", "digits", "--shots", "1")
    code, _ = in_process(*argv, "--seeds", *SEEDS, "--output", str(output), "--", "OPTIM.MAX_EPOCH", "1")
    assert code == 0
    return output


def sections(page):
    text = (page / "studies/studies.md").read_text()
    return dict(zip(("figure3", "figure5", "gradients", "iterations"), text.split("\n## ")[1:], strict=True))


def test_numbers_per_layer_are_means_over_the_seeds_with_their_spread(page):
    runs = [load_run(str(folder.parent)) for folder in sorted(page.rglob("train_base/**/result.json"))]
    assert len(runs) == len(SEEDS)
    values = {}
    for row in (row for run in runs for row in change(run)):
        values.setdefault(row.tensor, []).append(row.value)
    rows = list(csv.DictReader(open(page / "studies/tables/figure3-change.csv")))
    assert {row["tensor"] for row in rows} == values.keys()
    for row in rows:
        assert float(row["value"]) == pytest.approx(np.mean(values[row["tensor"]]))
        assert float(row["std"]) == pytest.approx(np.std(values[row["tensor"]])) and float(row["std"]) > 0
    for name in ("figure3", "gradients"):
        assert "Seeds: 1, 2." in sections(page)[name] and "standard deviation" in sections(page)[name]


def test_pictures_of_one_run_say_which(page):
    for name in ("figure5", "iterations"):
        assert "Run: CLIPFit, seed 1, one of 2 runs." in sections(page)[name]

"""Patterns of Dassl's log lines that other programs read: progress, end of training, results.

Standard library only: parse_test_res.py and scripts/progress.py run without other packages.
"""

from __future__ import annotations

import re

TRAINED = ("Finish training", "Finished training")  # the second one is printed by ProGrad's and KgCoOp's fork of Dassl
TESTED = ("=> result",)
EPOCH = re.compile(r"^epoch \[(\d+)/(\d+)\]", re.M)
BATCH = re.compile(EPOCH.pattern + r" batch \[(\d+)/(\d+)\]", re.M)
LOSS = re.compile(r" (loss \S+)")  # the total loss; loss terms are called loss_<name>
SPLIT = re.compile(r"^Evaluate on the \*(\w+)\* set")
COUNT = re.compile(r"^\* (total|correct): ([\d,]+)$")
ACCURACY = re.compile(r"^\* accuracy: (\S+)", re.M)


def metric(keyword: str) -> re.Pattern:
    """Returns the pattern of a result such as "* macro_f1: 40.0%". Its group is the number."""
    return re.compile(rf"\* {keyword}: ([\.\deE+-]+)%")


def share_trained(match: re.Match) -> float:
    """Returns the progress of training, from 0 to 1, given a match of BATCH.

    Example: "epoch [2/4] batch [5/10]" is 1.5 of 4 epochs: 0.375.
    """
    epoch, epochs, batch, batches = map(int, match.groups())
    return (epoch - 1 + batch / batches) / epochs

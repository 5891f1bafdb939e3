"""Lines of Dassl's log that other programs read: progress, end of training, results.

Standard library only: parse_test_res.py and scripts/progress.py run where nothing else is installed.
"""

from __future__ import annotations

import re

TRAINED = ("Finish training", "Finished training")  # the second is printed by ProGrad's and KgCoOp's fork of Dassl
TESTED = ("=> result",)
EPOCH = re.compile(r"^epoch \[(\d+)/(\d+)\]", re.M)
BATCH = re.compile(EPOCH.pattern + r" batch \[(\d+)/(\d+)\]", re.M)
LOSS = re.compile(r" (loss \S+)")  # the total; the terms are loss_<name>
SPLIT = re.compile(r"^Evaluate on the \*(\w+)\* set")
COUNT = re.compile(r"^\* (total|correct): ([\d,]+)$")
ACCURACY = re.compile(r"^\* accuracy: (\S+)", re.M)


def metric(keyword: str) -> re.Pattern:
    """Pattern of a result such as "* macro_f1: 40.0%"; its group is the number."""
    return re.compile(rf"\* {keyword}: ([\.\deE+-]+)%")


def share_trained(match: re.Match) -> float:
    """The share of all epochs that is trained, from 0 to 1, at a progress line that BATCH matched."""
    epoch, epochs, batch, batches = map(int, match.groups())
    return (epoch - 1 + batch / batches) / epochs

"""Reads Dassl's logs: patterns of the lines that other programs read, and which lines of a log are results.

Standard library only: parse_test_res.py and scripts/progress.py run without other packages.
"""

from __future__ import annotations

import os
import re
import stat

TRAINED = ("Finish training", "Finished training")  # the second one is printed by ProGrad's and KgCoOp's fork of Dassl
TESTED = ("=> result",)
PER_CLASS = "=> per-class result"
HEAD = ("** Arguments **", "** Config **")
AFTER_HEAD = ("Collecting env info", "** System info **", "Loading trainer")  # starts of the first line after it
EPOCH = re.compile(r"^epoch \[(\d+)/(\d+)\]", re.M)
BATCH = re.compile(EPOCH.pattern + r" batch \[(\d+)/(\d+)\]", re.M)
LOSS = re.compile(r" (loss \S+)")  # the total loss; loss terms are called loss_<name>
SPLIT = re.compile(r"^Evaluate on the \*(\w+)\* set")
COUNT = re.compile(r"^\* (total|correct): ([\d,]+)$")
ACCURACY = re.compile(r"^\* accuracy: (\S+)", re.M)
MAX_BYTES = 2**28  # 256 MB; the log of 200 epochs on ImageNet has less than 10 MB


def metric(keyword: str) -> re.Pattern:
    """Returns the pattern of a line with a result, such as "* macro_f1: 40.0%". Its group is the number."""
    return re.compile(rf"^\* (?:{keyword}): ([\.\deE+-]+)%")


def read_text(path, max_bytes: int = MAX_BYTES) -> str:
    r"""Returns the text of a file, with "\n" at the end of lines. Bytes that are not UTF-8 are replaced.

    Raises:
        OSError: the file cannot be read, or is no regular file: a folder, or a pipe, whose reading would not end.
        ValueError: it is larger than `max_bytes`.
    """
    with open(path, encoding="utf-8", errors="replace", opener=_open_regular) as file:
        size = os.fstat(file.fileno()).st_size
        text = file.read(max_bytes + 1) if size <= max_bytes else ""
    if size > max_bytes or len(text) > max_bytes:
        raise ValueError(f"larger than {max_bytes / 2**20:.0f} MB")
    return text


def _open_regular(path, flags: int) -> int:
    """Opens a file for `open`. Raises OSError if it is no regular file."""
    handle = os.open(path, flags | getattr(os, "O_NONBLOCK", 0))  # opening a pipe would wait for its writer
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise OSError("not a regular file")
    return handle


def body(lines):
    """Yields the lines of a log without those that print what a user named: arguments, config, results per class.

    A class name or a prompt template with a line break could look like a result there:

        => per-class result
        * class: 0 (cat
        * accuracy: 99.99%)     total: 10 ...

    Until the next evaluation starts, lines that could be results are left out, except "* average: ...%".
    """
    in_head = False
    in_classes = False
    starts = TESTED  # the line that starts an evaluation
    for line in lines:
        if SPLIT.match(line) and not in_head:
            starts = ()  # not printed by older versions of Dassl; where it is, it comes before "=> result"
            in_classes = False
        if line.rstrip() in HEAD:
            in_head = True
        elif line.startswith(AFTER_HEAD):
            in_head = False
        elif line.rstrip() in starts:
            in_classes = False
        of_classes = in_classes and line.startswith(("* ", "=> ")) and not line.startswith("* average: ")
        if not in_head and not of_classes:
            yield line
        if not in_head and line.rstrip() == PER_CLASS:
            in_classes = True


def share_trained(match: re.Match) -> float:
    """Returns the progress of training, from 0 to 1, given a match of BATCH.

    Example: "epoch [2/4] batch [5/10]" is 1.5 of 4 epochs: 0.375.
    """
    epoch, epochs, batch, batches = map(int, match.groups())
    return (epoch - 1 + batch / batches) / epochs

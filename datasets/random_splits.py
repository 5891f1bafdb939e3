"""Making a split if none is published: independent of directory order and of Python's global random state.

The images of a class are sorted, then shuffled by a generator of its own, seeded by the class name. So the
split of a class depends on its own images alone, and few-shot sampling gives the same images whether or not the
split file was already there.
"""

import random
from collections import defaultdict

from .splits import Split


def _shuffled_classes(items):
    groups = defaultdict(list)
    for item in items:
        groups[item.label].append(item)
    for label in sorted(groups):
        group = sorted(groups[label])
        random.Random(group[0].classname).shuffle(group)
        yield group


def split_three(items, train=0.5, val=0.2):
    """Each class divided at random into train, val and the rest as test (CoOp: 50 %, 20 %, 30 %)."""
    split = Split([], [], [])
    for group in _shuffled_classes(items):
        if len(group) < 3:
            raise ValueError(f"class {group[0].classname!r} has {len(group)} image(s), too few for train, val and test")
        n_val = max(1, round(len(group) * val))
        n_train = min(round(len(group) * train), len(group) - n_val - 1)  # rounding leaves no test image of 3
        split.train.extend(group[:n_train])
        split.val.extend(group[n_train : n_train + n_val])
        split.test.extend(group[n_train + n_val :])
    return split


def split_trainval(items, val=0.2):
    """`(train, val)`: a share `val` of each class, taken at random for validation."""
    train_items, val_items = [], []
    for group in _shuffled_classes(items):
        n_val = round(len(group) * val)
        if n_val < 1:
            raise ValueError(f"class {group[0].classname!r} has {len(group)} image(s), too few for train and val")
        val_items.extend(group[:n_val])
        train_items.extend(group[n_val:])
    return train_items, val_items

"""Generates a split if none is published, independent of directory order and of Python's global random state.

The images of each class are sorted, then shuffled by a generator seeded with the class name. The split of a class
therefore depends only on the images of that class, and few-shot sampling selects the same images before and after the
split file is written.
"""

import random
from collections import defaultdict

from .splits import Split


def _shuffled_classes(items):
    """Yields the shuffled items of each class, by label."""
    groups = defaultdict(list)
    for item in items:
        groups[item.label].append(item)
    for label in sorted(groups):
        group = sorted(groups[label])
        random.Random(group[0].classname).shuffle(group)
        yield group


def split_three(items, train=0.5, val=0.2):
    """Splits each class at random into train, val and test; test gets the rest (CoOp: 50 %, 20 %, 30 %)."""
    split = Split([], [], [])
    for group in _shuffled_classes(items):
        if len(group) < 3:
            raise ValueError(
                f"class {group[0].classname!r} has {len(group)} image(s), needs at least 3 for train, val and test"
            )
        n_val = max(1, round(len(group) * val))
        # At least one image for test: of 3 images, rounding alone would give 2, 1, 0; this gives 1, 1, 1.
        n_train = min(round(len(group) * train), len(group) - n_val - 1)
        split.train.extend(group[:n_train])
        split.val.extend(group[n_train : n_train + n_val])
        split.test.extend(group[n_train + n_val :])
    return split


def split_trainval(items, val=0.2):
    """Splits each class at random into train and val; val gets the fraction `val`."""
    train_items, val_items = [], []
    for group in _shuffled_classes(items):
        n_val = round(len(group) * val)
        if n_val < 1:
            raise ValueError(
                f"class {group[0].classname!r} has {len(group)} image(s), too few to split into train and val"
            )
        val_items.extend(group[:n_val])
        train_items.extend(group[n_val:])
    return train_items, val_items

"""Samples N-way K-shot episodes: which classes, which support images, which query images."""

import random
from collections import defaultdict
from typing import NamedTuple

from dassl.data.datasets import DatasetBase, Datum


class Pool(NamedTuple):
    """The images of one class. If `queries` is `support`, the images of an episode are sampled without replacement."""

    name: str
    support: list  # paths
    queries: list


class Episode(NamedTuple):
    """One task. Labels count from 0 in the order of `classes`."""

    number: int
    classes: list  # class names
    support: list  # (path, label)
    queries: list
    seed: int  # of the training in this episode


def pools_of(dataset, shots: int, queries: int) -> tuple[list[Pool], list[str]]:
    """Returns the pools of the classes of a dataset, by label, and the names of classes with too few images.

    Support images are training images, queries are test images. If the training images are the test images, as in
    datasets for testing only, both come from one pool.
    """
    support, test = defaultdict(list), defaultdict(list)
    for images, items in ((support, dataset.train_x), (test, dataset.test)):
        for item in items:
            images[item.label].append(item.impath)
    pools, too_small = [], []
    for label, name in sorted(dataset.lab2cname.items()):
        shared = sorted(support[label]) == sorted(test[label])
        pool = Pool(name, support[label], support[label] if shared else test[label])
        enough = len(pool.support) >= shots + queries if shared else len(pool.support) >= shots
        if enough and len(pool.queries) >= queries:
            pools.append(pool)
        else:
            too_small.append(name)
    return pools, too_small


def sample(pools: list[Pool], number: int, *, ways: int, shots: int, queries: int, seed: int) -> Episode:
    """Returns an episode. It depends on the arguments only, so it is the same for every method and after a restart."""
    rng = random.Random(f"{seed}/{number}")
    classes, support, query = [], [], []
    for label, pool in enumerate(rng.sample(pools, ways)):
        if pool.queries is pool.support:
            chosen = rng.sample(pool.support, shots + queries)
        else:
            chosen = rng.sample(pool.support, shots) + rng.sample(pool.queries, queries)
        classes.append(pool.name)
        support += [(path, label) for path in chosen[:shots]]
        query += [(path, label) for path in chosen[shots:]]
    return Episode(number, classes, support, query, rng.getrandbits(31))


class EpisodeDataset(DatasetBase):
    """The dataset of one episode: trains on the support images, tests on the queries, no validation images."""

    def __init__(self, episode: Episode):
        train, test = (
            [Datum(impath=path, label=label, classname=episode.classes[label]) for path, label in images]
            for images in (episode.support, episode.queries)
        )
        super().__init__(train_x=train, test=test)

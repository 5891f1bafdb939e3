"""Builds the Folder dataset on a small folder of a user's images."""

from tests.datasets import mini

COUNTS = {"polar bear": 20, "Éléphant": 10, "zebra": 30}


def build(root, shots=-1, seed=1, subsample="all", list_="", classnames="", skip_unreadable=False, no_test=False):
    cfg = mini.make_cfg("Folder", root, shots, seed, subsample)
    cfg.DATASET.FOLDER.LIST, cfg.DATASET.FOLDER.CLASSNAMES = list_, classnames
    cfg.DATASET.FOLDER.SKIP_UNREADABLE = skip_unreadable
    cfg.TEST.NO_TEST = no_test
    return mini.build_dataset(cfg)


def sizes(data):
    return [len(data.train_x), len(data.val or []), len(data.test)]

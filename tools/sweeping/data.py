"""Compares the images that a job would use now with those of a run record. No image is decoded."""

import contextlib
import json
import os
import time
from dataclasses import dataclass

from runtime.user_errors import USER_ERRORS

CACHE_SECONDS = 60  # a difference is confirmed by reading the data again after this time


@dataclass
class Data:
    """The present data of a job. Jobs with equal data share it."""

    dataset: object
    read_at: float  # in seconds since 1970
    content: dict | None = None  # as in a run record; None until it is needed


cache: dict[str, Data] = {}  # by DATASET section of the config and seed


def data_key(cfg) -> str:
    """Returns a text that is equal for runs with the same images: the DATASET section of the config, and the seed."""
    root = os.path.abspath(os.path.expanduser(cfg.DATASET.ROOT)) if cfg.DATASET.ROOT else ""
    return json.dumps([{**cfg.DATASET, "ROOT": root}, cfg.SEED], sort_keys=True)


def differing_data(argv: list[str], key: str, result: dict) -> list[str] | None:
    """Returns in what class names and images a run record differs from the present data of a run of train.py.

    A training is compared in all splits, an evaluation in the split that it tested. Records of older versions without
    digests of the content are compared by names.

    Args:
        argv: arguments of train.py.
        key: `data_key` of its config.

    Returns:
        e.g. ["training images 120 -> 130"]; None if the data do not exist on this machine or cannot be read, which
        the run itself would say, or if the record does not describe its images.
    """
    if not (result.get("content") or result.get("data")):
        return None
    data = present(argv, key)
    found = compare(data, result) if data else None
    if found and time.time() - data.read_at > CACHE_SECONDS:
        del cache[key]
        data = present(argv, key)
        found = compare(data, result) if data else None
    return found


def compare(data: Data, result: dict) -> list[str]:
    from trainers.common.runs.image_hashes import SPLIT_NAMES, content
    from trainers.common.runs.provenance import data_hash
    from trainers.common.runs.record import data_differences

    evaluation = result.get("evaluation") or {}
    splits = (evaluation.get("split") or "test",) if result.get("eval_only") else tuple(SPLIT_NAMES)
    if result.get("content") and data.content is None:
        data.content = content(data.dataset)
    identity = {"classnames": getattr(data.dataset, "classnames", None)}
    found = data_differences(result, {"identity": identity, "content": data.content}, splits)
    for split in splits if not result.get("content") else ():
        hashed = data_hash(getattr(data.dataset, split, None))
        if split in result["data"] and result["data"][split] != hashed:
            found.append(f"names of the {SPLIT_NAMES[split]}")
    return found


def present(argv: list[str], key: str) -> Data | None:
    """Returns the present data of a run of train.py; None if they do not exist or cannot be read."""
    import train
    from dassl.data.datasets import DATASET_REGISTRY, build_dataset

    if key not in cache:
        try:
            cfg = train.setup_cfg(train.parse_args(argv))
            dataset = DATASET_REGISTRY.get(cfg.DATASET.NAME)
            if hasattr(dataset, "at_root") and not os.path.isdir(dataset.at_root(cfg.DATASET.ROOT).image_dir):
                return None  # building the dataset could write its images
            with contextlib.redirect_stdout(None):
                cache[key] = Data(build_dataset(cfg), time.time())
        except USER_ERRORS:
            return None
    return cache[key]

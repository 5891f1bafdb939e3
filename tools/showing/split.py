"""The images of a run by part: train, validation and test. They say what the run was trained on."""

import contextlib
import csv
import io
import os
from dataclasses import dataclass

from dassl.data.datasets import build_dataset
from tools.run_trainer import cfg_with_data
from trainers.common.classes import distinct
from trainers.common.runs import known_plugins
from trainers.common.runs.predictions import relative
from trainers.common.runs.provenance import data_hash

from .run import ShownRun

PARTS = {"train_x": "train", "val": "val", "test": "test"}


@dataclass(frozen=True)
class Item:
    """An image of the run: its file, its path as in split.csv, its part and its class."""

    file: str
    path: str
    part: str
    name: str


def split_of(run: ShownRun, root: str) -> list[Item]:
    """Returns the images of a run: all parts of a training, or the tested part of an evaluation.

    The few-shot images are sampled again, or read from the file of the first time.

    Args:
        root: folder with the datasets; "": that of the run.

    Raises:
        OSError, ValueError: the dataset is not there, or has other images now.
    """
    record = run.record
    if not run.classnames:
        raise ValueError("a run on captions has no classes")
    identity = record["identity"]
    known_plugins.require(identity.get("plugins"))
    state = {"settings": record["settings"], "meta": identity}
    changes = {"MODEL.BACKBONE.NAME": identity["backbone"]}
    root = os.path.expanduser(root or record.get("root") or "")
    if not os.path.isdir(root):  # bundled datasets would write themselves there
        raise FileNotFoundError(
            f"the folder with the datasets, {root or 'which the record does not name'}, is not there"
        )
    cfg = cfg_with_data(state, str(run.folder), root, record["classes"], changes)
    with contextlib.redirect_stdout(io.StringIO()):
        dataset = build_dataset(cfg)
    check_same(dataset, record, PARTS if run.trained else [run.split])
    prefix = os.path.join(os.path.abspath(os.path.expanduser(cfg.DATASET.ROOT)), "")
    names = distinct(list(dataset.classnames))
    return [
        Item(item.impath, relative(item.impath, prefix), part, names[item.label])
        for split, part in PARTS.items()
        if run.trained or split == run.split
        for item in getattr(dataset, split, None) or ()
    ]


def check_same(dataset, record: dict, splits) -> None:
    """Raises ValueError if one of the splits has other images, by their names, than it had in a run."""
    for split in splits:
        recorded = (record.get("data") or {}).get(split)
        if recorded and data_hash(getattr(dataset, split, None)) != recorded:
            raise ValueError(f"the {PARTS[split]} images of {record['dataset']} are others than in the run")


def as_csv(items: list[Item]) -> str:
    """Returns the content of split.csv. Paths are those of predictions.csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("path", "part", "class"))
    writer.writerows((item.path, item.part, item.name) for item in items)
    return text.getvalue()

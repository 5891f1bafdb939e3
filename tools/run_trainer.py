"""Builds the trainer of a finished run with a dataset, for tools that evaluate the run."""

import contextlib
import io
import os
from pathlib import Path

import datasets  # noqa: F401  (registers datasets and their config keys)
import train
from dassl.engine import build_trainer
from trainers.common.captioned import is_captioned
from trainers.common.inference.saved_run import find_method, make_cfg
from trainers.common.runs import record
from trainers.common.runs.image_hashes import SPLIT_NAMES, content, content_differences

DATASETS = Path(train.__file__).resolve().parent / "configs" / "datasets"


def trainer_with_data(
    state: dict, run: str, *, root="", classes="", dataset="", batch_size=100, workers=2, backbone="", precision=""
):
    """Returns a trainer with the settings of a run. Its tuned parameters have their initial values.

    Args:
        state: the tuned weights of the run with their metadata.
        run: the run directory, whose record names the folder with the datasets.
        root: that folder, if it is another one.
        classes: all, base or new; default: those of the run.
        dataset: a dataset by config name; default: that of the run.
        backbone, precision: default: those of the run.

    Raises:
        FileNotFoundError, ValueError: the dataset is not in `root`, or has other images than in the training.
    """
    changes = {
        "DATALOADER.TEST.BATCH_SIZE": batch_size,
        "DATALOADER.NUM_WORKERS": workers,
        "MODEL.BACKBONE.NAME": backbone,
        f"TRAINER.{find_method(state['meta']['trainer']).section}.PREC": precision,
    }
    cfg = cfg_with_data(state, run, root, classes, changes)
    if dataset:
        cfg.defrost()
        train.merge_file(cfg, str(DATASETS / f"{dataset}.yaml"), "--also")
        cfg.freeze()
    with contextlib.redirect_stdout(io.StringIO()):
        trainer = build_trainer(cfg)
    if not dataset:
        check_images(run, trainer.dm.dataset, cfg.DATASET.SUBSAMPLE_CLASSES)
    return trainer


def check_images(run: str, dataset, classes: str, splits=tuple(SPLIT_NAMES)) -> None:
    """Raises ValueError if a run had other images in `splits` than its dataset has now.

    If images were added or removed, a new split may test, or calibrate, on images that the run was trained on. Other
    classes than those of the run have other images, so they are not compared; nor are those of a run without a record.
    """
    recorded = record.read(os.path.join(run, record.FILE)) or {}
    if recorded.get("classes") != classes:
        return
    differences = content_differences(recorded.get("content"), content(dataset, splits), splits)
    if differences:
        raise ValueError(
            f"{run}: the images of {recorded['dataset']} have changed since the run ({'; '.join(differences)}): "
            "some that it was trained on may be validation or test images now. Restore them, name their folder by "
            "--root, or train again"
        )


def cfg_with_data(state: dict, run: str, root="", classes="", changes: dict | None = None):
    """Returns the config of a run with the folder of its datasets. Arguments as in `trainer_with_data`.

    Raises ValueError if the weights do not say which dataset the run has, or if it has captions and no classes.
    """
    if "DATASET.NAME" not in state["settings"]:
        raise ValueError(f"{run} does not record the dataset of the run: give a run directory or a checkpoint")
    if is_captioned(state["settings"]["DATASET.NAME"]):
        raise ValueError(
            f"{run} was trained on images with captions, which have no classes: evaluate it with tools/retrieve.py, or "
            "with train.py --eval-only on a data set of classes"
        )
    find_method(state["meta"]["trainer"])  # registers its options
    found = root or (record.read(os.path.join(run, record.FILE)) or {}).get("root")
    return make_cfg(state, {"DATASET.ROOT": found, "DATASET.SUBSAMPLE_CLASSES": classes, **(changes or {})})

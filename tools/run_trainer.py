"""Builds the trainer of a finished run with a dataset, for tools that evaluate the run."""

import contextlib
import io
import os
from pathlib import Path

import datasets  # noqa: F401  (registers datasets and their config keys)
import train
from dassl.engine import build_trainer
from trainers.common.inference.saved_run import find_method, make_cfg
from trainers.common.runs import record

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
        FileNotFoundError, ValueError: the dataset is not in `root`.
    """
    changes = {
        "DATASET.ROOT": root or (record.read(os.path.join(run, record.FILE)) or {}).get("root"),
        "DATASET.SUBSAMPLE_CLASSES": classes,
        "DATALOADER.TEST.BATCH_SIZE": batch_size,
        "DATALOADER.NUM_WORKERS": workers,
        "MODEL.BACKBONE.NAME": backbone,
        f"TRAINER.{find_method(state['meta']['trainer']).section}.PREC": precision,
    }
    cfg = make_cfg(state, changes)
    if dataset:
        cfg.defrost()
        train.merge_file(cfg, str(DATASETS / f"{dataset}.yaml"), "--also")
        cfg.freeze()
    with contextlib.redirect_stdout(io.StringIO()):
        return build_trainer(cfg)

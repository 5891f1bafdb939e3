"""Which images calibrate a finished run, and the logits of images."""

import contextlib
import io
import random

import numpy as np
import torch
from tqdm import tqdm

from dassl.data.datasets import build_dataset
from trainers.common.cached_features import ordered_loader
from trainers.common.finite import LogitsCheck
from trainers.common.runs.image_hashes import image_keys

SOURCES = {
    "val": "validation images of the run",
    "all_val": "validation images of the dataset",
    "unused_train": "training images of the dataset that the run has not used",
}


def calibration_images(trainer, source: str, max_images: int, seed: int) -> tuple[list, int]:
    """Returns the calibration images of a run, and how many others are training or test images and were left out.

    An image is left out if the run was trained or is tested on it, or on another file with the same content.

    Args:
        trainer: of the run, with its dataset.
        source: a key of SOURCES.
        max_images: if there are more images, this many are sampled.

    Raises ValueError if there are none.
    """
    dataset = trainer.dm.dataset
    candidates = find_candidates(trainer, source)
    known = {item.impath for item in (*dataset.train_x, *dataset.test)}
    new = [item for item in candidates if item.impath not in known]
    sample = new if len(new) <= max_images else random.Random(seed).sample(new, max_images)
    keys = image_keys([*(item.impath for item in sample), *known])
    contents = {keys[path] for path in known} - {None}
    images = [item for item in sample if keys[item.impath] not in contents]
    if not images:
        raise ValueError(no_images(trainer, source, len(candidates)))
    return images, len(candidates) - len(new) + len(sample) - len(images)


def find_candidates(trainer, source: str) -> list:
    """Returns the images of a source. "all_val" has none that the run chose its epoch or hyper-parameters on."""
    dataset = trainer.dm.dataset
    val = list(dataset.val or [])
    if source == "val":
        return val
    complete = complete_dataset(trainer.cfg)
    if source == "unused_train":
        used = {item.impath for item in dataset.train_x}
        return [item for item in complete.train_x if item.impath not in used]
    chosen_on = {item.impath for item in val} if selects_on_val(trainer) else set()
    return [item for item in complete.val or [] if item.impath not in chosen_on]


def no_images(trainer, source: str, candidates: int) -> str:
    """Returns the message if there are no calibration images."""
    others = [name for name in SOURCES if name != source]
    reason = f": all {candidates:,} are used for training or testing" if candidates else ""
    settings = trainer.cfg.DATASET
    return (
        f"{settings.NAME} ({settings.SUBSAMPLE_CLASSES} classes) has no {SOURCES[source]}{reason}; "
        f"test images cannot be used: give --images {' or '.join(others)}, or a dataset with validation images"
    )


def complete_dataset(cfg):
    """Returns the dataset of a run without few-shot sampling, with the classes of the run."""
    cfg = cfg.clone()
    cfg.defrost()
    cfg.DATASET.NUM_SHOTS = 0
    cfg.DATASET.PUBLIC_SPLITS = False
    cfg.freeze()
    with contextlib.redirect_stdout(io.StringIO()):
        return build_dataset(cfg)


def selects_on_val(trainer) -> bool:
    """Whether the run chose its epoch or hyper-parameters on its validation images."""
    return trainer.searches_on_val or trainer.cfg.TEST.FINAL_MODEL == "best_val"


@torch.inference_mode()
def logits_of(trainer, items: list, description: str) -> tuple[np.ndarray, np.ndarray]:
    """Returns logits (n, n_cls) and labels (n,) of images of a dataset, prepared as in the test.

    Raises InvalidLogits if logits are infinite or NaN.
    """
    trainer.set_model_mode("eval")
    logits, labels = [], []
    check = LogitsCheck()
    with contextlib.redirect_stdout(io.StringIO()):  # the loader prints its cache
        loader = ordered_loader(trainer.cfg, items)
        for batch in tqdm(loader, desc=description, unit="batch", leave=False, disable=None):
            image, label = trainer.parse_batch_test(batch)
            logits.append(trainer.model_inference(image).float().cpu())
            check.add(logits[-1])
            labels.append(label.cpu())
    check.check(lambda index: items[index].impath)
    return torch.cat(logits).numpy(), torch.cat(labels).numpy()

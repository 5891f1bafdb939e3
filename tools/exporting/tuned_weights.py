"""Tuned weights only, in the format of trainers/common/runs/tuned_weights.py."""

import os

import torch

from trainers.common import load_tuned
from trainers.common.runs import tuned_weights

from .common import max_difference

FILES = (tuned_weights.NAME,)
USAGE = """from trainers.common import load_tuned
classifier = load_tuned(f"{folder}/tuned.safetensors")"""


def write(classifier, folder: str) -> None:
    if not classifier.state["state_dict"]:
        method = classifier.trainer.cfg.TRAINER.NAME
        raise ValueError(f"--to delta does not support {method}, which has no tuned weights")
    tuned_weights.save(classifier.state, os.path.join(folder, tuned_weights.NAME))


def check(classifier, folder: str, images: torch.Tensor) -> float:
    trainer = classifier.trainer
    backbone = trainer.cfg.MODEL.BACKBONE.NAME
    path = os.path.join(folder, tuned_weights.NAME)
    loaded = load_tuned(path, classifier.classnames, precision="fp32", device="cpu", backbone=backbone)
    return max_difference(classifier, images, loaded.predict(images).logits)

"""The tuned tensors alone, with what they fit: trainers/common/runs/tuned_weights.py."""

import os

import torch

from trainers.common import load_tuned
from trainers.common.runs import tuned_weights

from .common import difference

HOW = """from trainers.common import load_tuned
classifier = load_tuned(f"{folder}/tuned.safetensors")"""


def write(classifier, folder: str) -> None:
    if not classifier.state["state_dict"]:
        raise ValueError(f"{classifier.trainer.cfg.TRAINER.NAME} tunes nothing, there is no delta")
    tuned_weights.save(classifier.state, os.path.join(folder, tuned_weights.NAME))


def check(classifier, folder: str, images: torch.Tensor) -> float:
    trainer = classifier.trainer
    backbone = trainer.cfg.MODEL.BACKBONE.NAME
    again = load_tuned(
        os.path.join(folder, tuned_weights.NAME), classifier.classnames, template=trainer.cfg.DATASET.TEMPLATE,
        precision="fp32", device="cpu", backbone=backbone,
    )  # fmt: skip
    return difference(classifier, images, again.predict(images).logits)

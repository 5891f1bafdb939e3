"""Fixture: trained runs for the tools. The default is CLIPFit on the digits zero to four, on a tiny random CLIP."""

import pytest

from tests.reference.models import random_clip, save_clip
from tests.trainers.helpers import make_trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory, digits_root):
    """trained(method, *opts) -> trainer; its run directory is `trainer.output_dir`. Each run is trained once."""
    folder = tmp_path_factory.mktemp("runs")
    backbone = save_clip(rounded(random_clip("tiny")), folder / "tiny.pt")
    trainers = {}

    def train(method="CLIPFit", *opts, backbone=backbone, flags=()):
        key = (method, *opts, backbone)
        if key not in trainers:
            options = ("DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.LR", "0.05", *opts)
            output = folder / f"run{len(trainers)}"
            trainers[key] = make_trainer(method, digits_root, backbone, output, *options, flags=flags)
            trainers[key].train()
        return trainers[key]

    return train


def rounded(model):
    """Rounds weight matrices and their biases to fp16, as in OpenAI's checkpoints."""
    from clip.model import convert_weights

    convert_weights(model)
    return model.float()

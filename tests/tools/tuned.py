"""A trained run for the tools that work with one: CLIPFit on the digits zero to four, on a tiny random CLIP."""

import pytest

from tests.reference.models import random_clip, save_clip
from tests.trainers.helpers import make_trainer


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """trained(method, *opts): the trainer of a run, its folder is `trainer.output_dir`; each is trained once."""
    folder = tmp_path_factory.mktemp("runs")
    backbone = save_clip(rounded(random_clip("tiny")), folder / "tiny.pt")
    done = {}

    def train(method="CLIPFit", *opts, backbone=backbone, flags=()):
        key = (method, *opts, backbone)
        if key not in done:
            options = ("DATASET.SUBSAMPLE_CLASSES", "base", "OPTIM.LR", "0.05", *opts)
            output = folder / f"run{len(done)}"
            done[key] = make_trainer(method, folder / "data", backbone, output, *options, flags=flags)
            done[key].train()
        return done[key]

    return train


def rounded(model):
    """As OpenAI's weights are: matrices and their biases are fp16 numbers."""
    from clip.model import convert_weights

    convert_weights(model)
    return model.float()

"""Training on captions with several processes (torchrun) learns what one process learns."""

import json

import pytest
import torch

from tests.user_errors import raises_user_error
from trainers.common import distributed

from .processes import in_processes
from .test_pairs import on_captions, root  # noqa: F401  (fixtures)
from .test_processes import compare, trained

# 12 training images are two batches of five per epoch: two and three in the shares
OPTIONS = ("OPTIM.MAX_EPOCH", "2", "DATALOADER.TRAIN_X.BATCH_SIZE", "5", "TEST.SPLIT", "val")
OPTIONS += ("DATALOADER.TEST.BATCH_SIZE", "3", "TEST.NO_TEST", "False", "TRAINER.CLIPLORA.DROPOUT", "0.0")


@pytest.mark.parametrize("method, size", [("CLIPFit", 0), ("CLIPFit", 2), ("CLIPLoRA", 2)])
def test_two_processes_learn_what_one_learns(on_captions, method, size, tmp_path):  # noqa: F811
    options = (*OPTIONS, "MODEL.GRADIENT_CACHING", str(size))
    one = trained(on_captions(method, *options, output=tmp_path / "one"))
    first, second = in_processes(2, lambda: trained(on_captions(method, *options, output=tmp_path / "two")), tmp_path)
    assert len(one["steps"]) == 4 and one["metrics"]["val"]["mean_recall"] > 0
    compare(one, first)
    assert first["steps"] == second["steps"]
    assert all(torch.equal(tensor, second["tuned"][name]) for name, tensor in first["tuned"].items())
    assert json.loads((tmp_path / "two/result.json").read_text())["processes"] == 2


def test_a_process_without_images(on_captions, tmp_path):  # noqa: F811
    options = (*OPTIONS, "OPTIM.MAX_EPOCH", "1", "DATALOADER.TRAIN_X.BATCH_SIZE", "2", "TRAINER.CLIPFIT.REG", "mse")
    one = trained(on_captions("CLIPFit", *options, output=tmp_path / "one"))
    found = in_processes(3, lambda: trained(on_captions("CLIPFit", *options, output=tmp_path / "three")), tmp_path)
    for other in found:
        compare(one, {**other, "metrics": one["metrics"]})
    compare(one, found[0])


def test_dropout_of_captions_needs_one_process(on_captions, monkeypatch):  # noqa: F811
    trainer = on_captions("CLIPLoRA")
    trainer.check_training()
    monkeypatch.setattr(distributed, "size", lambda: 2)
    with raises_user_error("TRAINER.CLIPLORA.DROPOUT 0.25", "2"):
        trainer.check_training()

"""A run on several processes (torchrun) learns what one process learns, for every method."""

import pytest
import torch

from .processes import in_processes
from .test_every_method import CLASSES, LIGHT, METHODS, build  # noqa: F401

# Five images per batch: two and three in the shares. 40 validation images are six batches, the last of which has five
OPTIONS = ("OPTIM.MAX_EPOCH", "2", "DATALOADER.TRAIN_X.BATCH_SIZE", "5", "TEST.NO_TEST", "False")
OPTIONS += ("DATALOADER.TEST.BATCH_SIZE", "7", "TEST.PER_CLASS_RESULT", "True")
COUNTED = ("accuracy", "error_rate", "macro_f1", "perclass_accuracy", "total", "correct")


def trained(trainer) -> dict:
    """Trains and evaluates. Returns the logged values of every step, the tuned tensors, and the results."""
    steps = []
    trainer.test_loader = trainer.val_loader  # fewer images
    forward_backward = trainer.forward_backward

    def noting(batch):
        steps.append(forward_backward(batch))
        return steps[-1]

    trainer.forward_backward = noting
    trainer.train()
    tuned = {name: tensor.clone() for name, tensor in trainer.tuned.state_dict().items()}
    return {"steps": steps, "tuned": tuned, "metrics": trainer.run.metrics}


def compare(one: dict, other: dict):
    ((split, metrics),) = one["metrics"].items()
    for name, value in metrics.items():  # those of probabilities differ as the losses do
        assert other["metrics"][split][name] == (value if name in COUNTED else pytest.approx(value, rel=1e-4)), name
    assert len(one["steps"]) == len(other["steps"])
    for step, (a, b) in enumerate(zip(one["steps"], other["steps"], strict=True)):
        assert a.keys() == b.keys()
        # Later losses differ more: a gradient in fp32 is up to 1e-5 from the one in fp64, in one process as in two. In
        # fp64, one and two processes differ by 1e-14 (ProGrad and CoOp on this CLIP)
        rel = 1e-6 if step < len(one["steps"]) / 2 else 3e-6
        for name in a:
            assert b[name] == pytest.approx(a[name], rel=rel, abs=2e-6), (step, name)
    assert one["tuned"].keys() == other["tuned"].keys()
    for name, tensor in one["tuned"].items():
        difference = (tensor.float() - other["tuned"][name].float()).norm()
        assert difference <= 1e-5 * tensor.float().norm() + 1e-7, (name, difference, tensor.norm())


@pytest.mark.parametrize("method", METHODS)
def test_two_processes_learn_what_one_learns(build, method, tmp_path):  # noqa: F811
    options = (*OPTIONS, *LIGHT.get(method, ()))
    one = trained(build(method, *options, output=tmp_path / "one"))
    first, second = in_processes(2, lambda: trained(build(method, *options, output=tmp_path / "two")), tmp_path)
    compare(one, first)
    assert first["steps"] == second["steps"] and bool(first["steps"]) == CLASSES[method].trainable
    assert all(torch.equal(tensor, second["tuned"][name]) for name, tensor in first["tuned"].items())

"""Compares a trainer with the reference implementations in tests/reference."""

import pytest
import torch

from trainers.common.models.loading import load_clip

from .helpers import batch_of, train_step

SGD = dict(lr=0.002, momentum=0.9, weight_decay=5e-4)
TEMPLATE = "a photo of the number {}."
FEW = ("DATASET.SUBSAMPLE_CLASSES", "base")  # five classes only, for speed


def plain_clip(trainer):
    """Loads the trainer's CLIP again, in fp32."""
    return load_clip(trainer.cfg.MODEL.BACKBONE.NAME)


def names_of(trainer):
    return list(trainer.dm.dataset.classnames)


def move(trainer, plain, size=0.05, seed=3):
    """Set both to the same random parameters, at which no loss term or gradient vanishes."""
    rng = torch.Generator().manual_seed(seed)
    assert sorted(plain.parameters) == sorted(n for n, p in trainer.tuned.named_parameters() if p.requires_grad)
    for name, p in plain.parameters.items():
        p.data += size * torch.randn(p.shape, generator=rng)
        trainer.tuned.get_parameter(name).data.copy_(p.data)


def assert_same_loss_and_gradients(trainer, plain, least=0.01):
    """Asserts that a step of `trainer`, at learning rate 0, has the reference's logits, loss terms and gradients.

    Each loss term must be above `least`, so that none is compared where it vanishes.
    """
    for group in trainer.optim.param_groups:
        group["lr"] = 0.0
    batch = batch_of(trainer)
    image, label = batch["img"], batch["label"]
    trainer.set_model_mode("train")
    logits, terms = trainer.losses(image, label)
    assert torch.allclose(logits, plain.logits(image), rtol=1e-5, atol=1e-4)
    expected = plain.set_gradients(image, label)
    assert terms.keys() == expected.keys()
    for name in terms:
        # In fp32, 1 - cosine is exact to about 2e-7, times the weight of the loss term
        assert terms[name].item() == pytest.approx(expected[name].item(), rel=2e-5, abs=3e-6), name
        assert terms[name].item() > least, name
    train_step(trainer, batch)
    for name, p in plain.parameters.items():
        gradient = trainer.tuned.get_parameter(name).grad
        assert p.grad.norm() > 0 and (gradient - p.grad).norm() <= 1e-4 * p.grad.norm() + 1e-7, name


def assert_same_trajectory(trainer, plain, steps=20, images=6, lr=SGD["lr"], rel=1e-5):
    """Asserts that SGD on the same batches has equal loss terms, to `rel`, at every step."""
    optimiser = torch.optim.SGD(plain.parameters.values(), **{**SGD, "lr": lr})
    for group in trainer.optim.param_groups:
        assert {key: group[key] for key in SGD} | {"lr": SGD["lr"]} == SGD
        group["lr"] = lr  # past the warm-up epoch
    first = None
    for step in range(steps):
        batch = batch_of(trainer, images, seed=step)
        summary = train_step(trainer, batch)
        terms = plain.set_gradients(batch["img"], batch["label"])
        optimiser.step()
        assert summary["loss"] == pytest.approx(plain.objective(terms).item(), rel=rel), step
        for name, term in terms.items():
            if len(terms) > 1:
                assert summary[name] == pytest.approx(term.item(), rel=rel, abs=1e-6), (step, name)
        first = first or {name: p.detach().clone() for name, p in plain.parameters.items()}
    assert all(not torch.equal(first[name], p) for name, p in plain.parameters.items())

"""Holds a trainer against the plain formulas in tests/reference."""

import pytest
import torch

from trainers.common.models.loading import load_clip

from .helpers import batch_of, train_step

SGD = dict(lr=0.002, momentum=0.9, weight_decay=5e-4)
TEMPLATE = "a photo of the number {}."
FEW = ("DATASET.SUBSAMPLE_CLASSES", "base")  # five classes, for speed


def plain_clip(trainer):
    """An own fp32 copy of the trainer's CLIP."""
    return load_clip(trainer.cfg.MODEL.BACKBONE.NAME)


def names_of(trainer):
    return list(trainer.dm.dataset.classnames)


def move(trainer, plain, size=0.05, seed=3):
    """Put both at the same random point away from the start, where no term or gradient vanishes."""
    rng = torch.Generator().manual_seed(seed)
    assert sorted(plain.parameters) == sorted(n for n, p in trainer.tuned.named_parameters() if p.requires_grad)
    for name, p in plain.parameters.items():
        p.data += size * torch.randn(p.shape, generator=rng)
        trainer.tuned.get_parameter(name).data.copy_(p.data)


def assert_same_loss_and_gradients(trainer, plain):
    """One step of `trainer`, at learning rate 0, gives the plain logits, loss terms and gradients."""
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
        assert terms[name].item() == pytest.approx(expected[name].item(), rel=2e-5), name
        assert terms[name].item() > 0.01
    train_step(trainer, batch)
    for name, p in plain.parameters.items():
        ours = trainer.tuned.get_parameter(name).grad
        assert p.grad.norm() > 0 and (ours - p.grad).norm() <= 1e-4 * p.grad.norm() + 1e-7, name


def assert_same_trajectory(trainer, plain, steps=20, images=6):
    """SGD on the same batches gives the same loss terms to 1e-5 at every step."""
    optimiser = torch.optim.SGD(plain.parameters.values(), **SGD)
    for group in trainer.optim.param_groups:
        assert {key: group[key] for key in SGD} | {"lr": SGD["lr"]} == SGD
        group["lr"] = SGD["lr"]  # past the warm-up epoch
    first = None
    for step in range(steps):
        batch = batch_of(trainer, images, seed=step)
        ours = train_step(trainer, batch)
        terms = plain.set_gradients(batch["img"], batch["label"])
        optimiser.step()
        assert ours["loss"] == pytest.approx(plain.objective(terms).item(), rel=1e-5), step
        for name, term in terms.items():
            if len(terms) > 1:
                assert ours[name] == pytest.approx(term.item(), rel=1e-5, abs=1e-6), (step, name)
        first = first or {name: p.detach().clone() for name, p in plain.parameters.items()}
    assert all(not torch.equal(first[name], p) for name, p in plain.parameters.items())

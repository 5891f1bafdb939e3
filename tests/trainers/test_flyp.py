"""FLYP against CLIP's contrastive loss in tests/reference/flyp.py."""

import pytest
import torch

from tests.reference.flyp import PlainFLYP

from .compare import TEMPLATE, assert_same_trajectory, names_of, plain_clip
from .helpers import batch_of

SEVERAL = ("DATASET.TEMPLATES", "('a photo of the number {}.','the digit {}','a very small drawing of the {}')")


def plain_like(trainer):
    prompts = [prompt for own in trainer.prompts for prompt in own]
    return PlainFLYP(plain_clip(trainer), prompts, trainer.sample_captions)


def batch(trainer):
    found = batch_of(trainer, 8)
    return found["img"], found["label"]


@pytest.mark.parametrize("options", [(), SEVERAL], ids=["one template", "several"])
def test_loss_and_gradients_equal_the_formulas(make, options, monkeypatch):
    trainer = make("FLYP", *options)
    image, label = batch(trainer)
    assert len(set(label.tolist())) < len(label)  # images of one class are negatives of each other
    chosen = trainer.sample_captions(label)
    monkeypatch.setattr(trainer, "sample_captions", lambda label: chosen)
    plain = plain_like(trainer)
    expected = plain.set_gradients(image, label)
    trainer.set_model_mode("train")
    logits, terms = trainer.losses(image, label)
    sum(terms.values()).backward()
    for name, term in expected.items():
        assert terms[name].item() == pytest.approx(term.item(), rel=1e-5)
    for name, p in plain.parameters.items():
        gradient = trainer.tuned.get_parameter(name).grad
        assert p.grad.norm() > 0 and (gradient - p.grad).norm() <= 1e-4 * p.grad.norm() + 1e-7, name
    pairs = plain.logits(image, label).detach()
    for k in range(10):
        own = pairs[:, label == k]
        if own.numel():
            assert torch.allclose(logits[:, k], own.amax(1), atol=1e-4)
        else:
            assert (logits[:, k] < -1e30).all()


def test_twenty_sgd_steps_follow_the_formulas(make):
    trainer = make("FLYP")
    assert TEMPLATE.format("three") in plain_like(trainer).prompts and names_of(trainer)[3] == "three"
    assert_same_trajectory(trainer, plain_like(trainer), lr=0.0002)


def test_captions_are_random_prompts_of_the_class(make):
    trainer = make("FLYP", *SEVERAL)
    label = torch.arange(10).repeat(30)
    prompts = [prompt for own in trainer.prompts for prompt in own]
    sampled = {(k, prompts[i]) for k, i in zip(label.tolist(), trainer.sample_captions(label).tolist(), strict=True)}
    assert sampled == {(k, prompt) for k, own in enumerate(trainer.prompts) for prompt in own} and len(sampled) == 30

"""MMA against the formulas in tests/reference/mma.py."""

import pytest
import torch

from tests.reference.mma import PlainMMA
from tests.user_errors import raises_user_error

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import batch_of, train_step

BLOCKS = ("TRAINER.MMA.ADAPTER_START", "1", "TRAINER.MMA.ADAPTER_END", "2")


def plain_like(trainer, scale=0.001, factor=1000.0, template=TEMPLATE):
    learned = dict(trainer.tuned.named_parameters())
    return PlainMMA(plain_clip(trainer), names_of(trainer), template, learned, scale, factor)


OPTIONS = {  # keys below TRAINER.MMA, and arguments of the reference
    "": ({}, {}),
    "gradients of the loss": ({"GRADIENT_FACTOR": "1.0", "ADAPTER_SCALE": "0.1"}, {"scale": 0.1, "factor": 1.0}),
    "last block": ({"ADAPTER_START": "2", "ADAPTER_SCALE": "0.01"}, {"scale": 0.01, "factor": 100.0}),
    "LayerNorm": ({"TUNE": "('image_layernorm', 'text_layernorm')"}, {}),
    "words": ({"TEXT_CTX_INIT": "a photo of a"}, {"template": "a photo of a {}."}),
}


@pytest.mark.parametrize("options, plain_options", OPTIONS.values(), ids=OPTIONS)
def test_loss_and_gradients_equal_the_formulas(make, options, plain_options):
    keys = [text for name, value in options.items() for text in (f"TRAINER.MMA.{name}", value)]
    trainer = make("MMA", *BLOCKS, *keys, *FEW)
    plain = plain_like(trainer, **plain_options)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


def test_twenty_steps_follow_the_formulas(make):
    trainer = make("MMA", *BLOCKS, *FEW)
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_trajectory(trainer, plain)


def test_initial_values(make):
    tuned = dict(make("MMA", *BLOCKS).tuned.named_parameters())
    for name, p in tuned.items():
        if name.endswith("bias"):
            assert not p.any()
        else:
            assert p.std().item() == pytest.approx((2 / p.shape[0]) ** 0.5, rel=0.1), name
    assert len(tuned) == 2 * (2 * 2 * 2 + 2)


def test_both_encoders_have_the_same_middle_matrices(make):
    trainer = make("MMA", *BLOCKS, *FEW)
    image, before = batch_of(trainer)["img"], trainer.text_features()
    with torch.no_grad():
        features = trainer.encode_image(image)
        trainer.tuned.shared["0"].bias += 100
        assert (trainer.encode_image(image) - features).norm() > 1e-3
        assert (trainer.text_features() - before).norm() > 1e-3


def test_text_features_of_an_evaluation_are_not_kept(make):
    """The official code tests with those of the first validation."""
    trainer = make("MMA", *BLOCKS, *FEW)
    plain = plain_like(trainer)
    move(trainer, plain)
    for seed in (0, 1):
        trainer.set_model_mode("eval")
        image = batch_of(trainer, seed=seed)["img"]
        plain = plain_like(trainer)
        with torch.no_grad():
            assert torch.allclose(trainer.model_inference(image), plain.logits(image), atol=1e-3)
        trainer.optim.param_groups[0]["lr"] = 0.01
        train_step(trainer, batch_of(trainer))


WRONG = {
    ("ADAPTER_START", "0"): ("1 to 2", "0 and 2"),
    ("ADAPTER_END", "3"): ("1 to 2", "shorter encoder", "1 and 3"),
    ("ADAPTER_DIM", "0"): ("at least 1", "got 0"),
    ("ADAPTER_SCALE", "0.0"): ("above 0", "got 0.0"),
    ("GRADIENT_FACTOR", "-1.0"): ("above 0", "got -1.0"),
    ("TEXT_CTX_INIT", "a {}"): ("'a {}'",),
}


@pytest.mark.parametrize("setting", WRONG, ids="-".join)
def test_user_errors(make, setting):
    name, value = setting
    with raises_user_error(f"TRAINER.MMA.{name.replace('END', 'START')}", *WRONG[setting]):
        make("MMA", *BLOCKS, f"TRAINER.MMA.{name}", value)


def test_a_resnet_is_refused_before_it_is_loaded(make, tiny_rn, monkeypatch):
    monkeypatch.setattr("trainers.common.tuned_clip.load_backbone", None)
    with raises_user_error("MMA", "MODEL.BACKBONE.NAME", tiny_rn):
        make("MMA", "INPUT.SIZE", "(64, 64)", backbone=tiny_rn)

"""MMRL++ against the formulas in tests/reference/mmrl.py."""

import pytest
import torch

from tests.reference.mmrl import PlainMMRLPP
from tests.user_errors import raises_user_error

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip

SIZES = {"REP_DIM": "24", "N_REP_TOKENS": "40", "REP_LAYERS": "(1, 2)", "PROJ_LORA_DIM": "8"}


def build(make, *keys, **options):
    sizes = [word for name, value in SIZES.items() for word in (f"TRAINER.MMRLPP.{name}", value)]
    return make("MMRLPP", *sizes, *keys, **options)


def plain_like(trainer, scale=100.0, beta=0.9):
    learned = dict(trainer.tuned.named_parameters())
    return PlainMMRLPP(plain_clip(trainer), names_of(trainer), TEMPLATE, learned, (1, 2), 0.7, 1.0, scale, beta=beta)


@pytest.mark.parametrize("beta", [1.0, 0.9, 0.2])
def test_loss_and_gradients_equal_the_formulas(make, beta):
    trainer = build(make, "TRAINER.MMRLPP.BETA", str(beta), *FEW)
    plain = plain_like(trainer, beta=beta)
    move(trainer, plain, size=0.3)
    assert_same_loss_and_gradients(trainer, plain)


def test_twenty_steps_follow_the_formulas(make):
    trainer = build(make, "TRAINER.MMRLPP.LOGIT_SCALE", "0", *FEW)
    plain = plain_like(trainer, scale=trainer.backbone.logit_scale)
    move(trainer, plain, size=0.3)
    assert_same_trajectory(trainer, plain)


def test_initial_values(make):
    """All blocks have the same projection, and the second projection is CLIP's."""
    trainer = build(make)
    assert torch.equal(trainer.second_projection(), trainer.clip.visual.proj.float())
    for aligned in trainer.tuned.inserted.values():
        first, second = aligned(torch.float32).values()
        assert torch.equal(first["tokens"].tokens, second["tokens"].tokens)
        assert 0 < aligned.residuals["0"].A.abs().max() <= 4**-0.5


@pytest.mark.parametrize(
    "name, value", [("BETA", "0.0"), ("RES_LORA_DIM", "0"), ("REP_LAYERS", "(2, 3)"), ("ALPHA", "2.0")]
)
def test_user_errors(make, name, value):
    with raises_user_error(f"TRAINER.MMRLPP.{name}", value):
        build(make, f"TRAINER.MMRLPP.{name}", value)

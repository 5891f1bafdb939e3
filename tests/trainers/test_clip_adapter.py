"""CLIP-Adapter against the formulas in tests/reference/clip_adapter.py."""

import pytest
import torch

from tests.reference.clip_adapter import PlainCLIPAdapter
from tests.user_errors import raises_user_error

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import batch_of, train_step


def plain_like(trainer):
    down, up = (trainer.tuned.get_parameter(f"fc.{i}.weight") for i in (0, 2))
    ratio, ul = trainer.options.RATIO, bool(trainer.clip_names)
    return PlainCLIPAdapter(plain_clip(trainer), names_of(trainer), TEMPLATE, down, up, ratio, layernorm=ul)


@pytest.mark.parametrize(
    "options",
    [(), ("TRAINER.CLIP_ADAPTER.RATIO", "0.6"), ("TRAINER.CLIP_ADAPTER.TUNE", "('image_layernorm',)")],
    ids=["", "ratio", "+UL"],
)
def test_loss_and_gradients_equal_the_formulas(make, options):
    trainer = make("CLIP_Adapter", *options)
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


def test_twenty_sgd_steps_follow_the_formulas(make):
    trainer = make("CLIP_Adapter", *FEW)
    assert_same_trajectory(trainer, plain_like(trainer))


def test_text_is_encoded_once_unless_it_is_tuned(make):
    for tune, times in (("()", 1), ("('text_layernorm',)", 3)):
        trainer = make("CLIP_Adapter", "TRAINER.CLIP_ADAPTER.TUNE", tune)
        calls = []
        trainer.text_encoder.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        for seed in range(3):
            train_step(trainer, batch_of(trainer, seed=seed))
        assert len(calls) == times


def test_width_follows_the_backbone(make, tiny_rn):
    trainer = make("CLIP_Adapter", "INPUT.SIZE", "(64, 64)", backbone=tiny_rn)
    assert trainer.tuned.fc[0].weight.shape == (16, 64)
    before = {name: p.clone() for name, p in trainer.tuned.state_dict().items()}
    train_step(trainer, batch_of(trainer))
    assert all(not torch.equal(before[name], p) for name, p in trainer.tuned.state_dict().items())


def test_user_errors(make):
    with raises_user_error("TRAINER.CLIP_ADAPTER.RATIO", "0 to 1", "1.5"):
        make("CLIP_Adapter", "TRAINER.CLIP_ADAPTER.RATIO", "1.5")
    with raises_user_error("TRAINER.CLIP_ADAPTER.REDUCTION", "got 0"):
        make("CLIP_Adapter", "TRAINER.CLIP_ADAPTER.REDUCTION", "0")

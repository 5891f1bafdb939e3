"""MMRL against the formulas in tests/reference/mmrl.py."""

import pytest
import torch

from tests.reference.mmrl import PlainMMRL
from tests.user_errors import raises_user_error

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import batch_of

SMALL = ("TRAINER.MMRL.REP_DIM", "24", "TRAINER.MMRL.N_REP_TOKENS", "40")  # many, so that no loss is small


def build(make, *keys, layers=(1, 2), **options):
    return make("MMRL", *SMALL, "TRAINER.MMRL.REP_LAYERS", str(layers), *keys, **options)


def plain_like(trainer, layers=(1, 2), alpha=0.7, weight=1.0, scale=100.0):
    learned = dict(trainer.tuned.named_parameters())
    return PlainMMRL(plain_clip(trainer), names_of(trainer), TEMPLATE, learned, layers, alpha, weight, scale)


OPTIONS = {  # REP_LAYERS, other keys and arguments of the reference
    "": ((1, 2), (), {}),
    "last block": ((2,), ("TRAINER.MMRL.ALPHA", "0.4", "TRAINER.MMRL.REG_WEIGHT", "6.0"), {"alpha": 0.4, "weight": 6}),
    "first block only": ((1,), ("MODEL.ACTIVATION_CHECKPOINTING", "True"), {}),
    "LayerNorm": ((1, 2), ("TRAINER.MMRL.TUNE", "('image_layernorm', 'text_layernorm')"), {}),
}


@pytest.mark.parametrize("layers, keys, options", OPTIONS.values(), ids=OPTIONS)
def test_loss_and_gradients_equal_the_formulas(make, layers, keys, options):
    trainer = build(make, *keys, *FEW, layers=layers)
    plain = plain_like(trainer, layers, **options)
    move(trainer, plain, size=0.5)
    assert_same_loss_and_gradients(trainer, plain)


def test_twenty_steps_follow_the_formulas(make):
    trainer = build(make, "TRAINER.MMRL.LOGIT_SCALE", "0", *FEW)
    plain = plain_like(trainer, scale=trainer.backbone.logit_scale)
    move(trainer, plain, size=0.5)
    assert_same_trajectory(trainer, plain)


def test_initial_values(make):
    tuned = build(make, layers=(1, 2)).tuned
    assert tuned.tokens.std().item() == pytest.approx(0.02, rel=0.2)
    for projected in tuned.inserted.values():
        first, second = projected.projections.values()
        assert torch.equal(first.weight, second.weight) and torch.equal(first.bias, second.bias)
        assert first.weight.abs().max() <= 24**-0.5
    assert tuned.projection.std().item() == pytest.approx(128**-0.5, rel=0.05)  # random, not CLIP's


def test_blocks_before_the_first_tokens_are_computed_once(make):
    trainer = build(make, layers=(2,))
    trainer.text_features()
    assert trainer.text_cache.starts[0].blocks == 1


@pytest.mark.parametrize(
    "keys, fuses",
    [
        (("DATASET.SUBSAMPLE_CLASSES", "base"), True),
        (("DATASET.SUBSAMPLE_CLASSES", "new"), False),
        (("DATASET.NAME", "DigitsRotated", "DATASET.SUBSAMPLE_CLASSES", "base"), False),
    ],
    ids=["same", "new classes", "another dataset"],
)
def test_both_features_predict_what_was_trained_on(make, tmp_path, keys, fuses, capsys):
    base = build(make, *FEW, output=tmp_path / "base")
    move(base, plain_like(base))
    base.save_model(0, str(tmp_path / "base"))
    other = build(make, *keys, output=tmp_path / "other")
    other.load_model(str(tmp_path / "base"))
    assert ("class token's feature alone" in capsys.readouterr().out) != fuses
    plain, image = plain_like(other), batch_of(other)["img"]
    other.set_model_mode("eval")
    with torch.no_grad():
        expected = plain.logits(image) if fuses else plain.both_logits(image)[0]
        assert torch.allclose(other.model_inference(image), expected, atol=1e-3)


WRONG = {
    ("REP_LAYERS", "(2, 3)"): ("1 to 2", "shorter encoder", "(2, 3)"),
    ("REP_LAYERS", "(2, 1)"): ("ascending", "(2, 1)"),
    ("REP_LAYERS", "()"): ("1 to 2", "()"),
    ("ALPHA", "1.5"): ("at most 1", "1.5"),
    ("REG_WEIGHT", "-1.0"): ("negative", "-1.0"),
    ("N_REP_TOKENS", "0"): ("at least 1", "0"),
}


@pytest.mark.parametrize("setting", WRONG, ids="-".join)
def test_user_errors(make, setting):
    name, value = setting
    with raises_user_error(f"TRAINER.MMRL.{name}", *WRONG[setting]):
        build(make, f"TRAINER.MMRL.{name}", value)


def test_other_backbones_are_refused_before_they_are_loaded(make, tiny_rn, monkeypatch):
    monkeypatch.setattr("trainers.common.tuned_clip.load_backbone", None)
    with raises_user_error("MMRL", "MODEL.BACKBONE.NAME", tiny_rn, "ViT-B/16") as caught:
        build(make, "INPUT.SIZE", "(64, 64)", backbone=tiny_rn)
    assert "SigLIP" not in str(caught.value)  # which MMRL refuses, too
    monkeypatch.setattr("trainers.mmrl.has_own_encoders", lambda name: False)
    with raises_user_error("MMRL", "MODEL.BACKBONE.NAME", "OpenAI"):
        build(make)

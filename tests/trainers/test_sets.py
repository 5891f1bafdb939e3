"""LayerNormTuning, BitFit and FullFineTuning against plain training of OpenAI's CLIP, and their options."""

import math

import pytest
import torch

from tests.reference.sets import PlainTuning, biases, everything, layernorms
from tests.user_errors import raises_user_error

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, names_of, plain_clip
from .helpers import batch_of, train_step

METHODS = {"LayerNormTuning": layernorms, "BitFit": biases, "FullFineTuning": everything}
RN = ("INPUT.SIZE", "(64, 64)")


def plain_like(trainer, names):
    return PlainTuning(plain_clip(trainer), [TEMPLATE.format(name) for name in names_of(trainer)], names)


def perturb(trainer, plain, size=0.02):
    """Sets both to the same random parameters near CLIP's."""
    rng = torch.Generator().manual_seed(3)
    for p in plain.parameters.values():
        p.data += size * torch.randn(p.shape, generator=rng)
    plain.copy_to(trainer.tuned)


@pytest.mark.parametrize("method", METHODS)
def test_loss_and_gradients_equal_the_formulas(make, method):
    trainer = make(method)
    plain = plain_like(trainer, METHODS[method])
    perturb(trainer, plain)
    assert {name for name, _ in trainer.tuned.named_parameters()} == set(plain.parameters)
    assert_same_loss_and_gradients(trainer, plain)


@pytest.mark.parametrize("method", METHODS)
def test_twenty_sgd_steps_follow_the_formulas(make, method):
    trainer = make(method, *FEW)
    lr = 0.0002 if method == "FullFineTuning" else 0.002  # it diverges at 0.002
    assert_same_trajectory(trainer, plain_like(trainer, METHODS[method]), lr=lr)


def test_full_fine_tuning_of_a_resnet(make, tiny_rn):
    """With the convolutions, the BatchNorms and the attention pooling. The running statistics stay as they are."""
    trainer = make("FullFineTuning", *FEW, *RN, backbone=tiny_rn)
    plain = plain_like(trainer, everything)
    names = set(plain.parameters)
    assert {"visual.conv1.weight", "visual.bn1.weight", "visual.attnpool.positional_embedding"} <= names
    statistics = {name: buffer.clone() for name, buffer in trainer.clip.named_buffers()}
    assert any("running_mean" in name for name in statistics)
    assert_same_trajectory(trainer, plain, steps=5, lr=0.0002)
    assert all(torch.equal(buffer, statistics[name]) for name, buffer in trainer.clip.named_buffers())


def test_adamw_of_the_recipe_follows_plain_adamw(make):
    """The recipe's AdamW: weight decay on every tensor, as in WiSE-FT and FLYP."""
    keys = "OPTIM.NAME adamw OPTIM.LR 1e-5 OPTIM.WEIGHT_DECAY 0.1".split()
    trainer = make("FullFineTuning", *FEW, *keys)
    plain = plain_like(trainer, everything)
    optimiser = torch.optim.AdamW(plain.parameters.values(), lr=1e-5, weight_decay=0.1)
    for group in trainer.optim.param_groups:
        group["lr"] = 1e-5  # past the warm-up epoch
    losses = []
    for step in range(20):
        batch = batch_of(trainer, seed=step % 4)
        summary = train_step(trainer, batch)
        terms = plain.set_gradients(batch["img"], batch["label"])
        optimiser.step()
        assert summary["loss"] == pytest.approx(terms["ce"].item(), rel=1e-3), step  # the sign of a tiny gradient
        losses.append(summary["loss"])
    assert sum(losses[-4:]) < 0.95 * sum(losses[:4])


@pytest.mark.parametrize("entry", ["image_layernorm", "text_layernorm"])
def test_one_encoder_only(make, entry):
    trainer = make("LayerNormTuning", "TRAINER.LAYERNORM_TUNING.TUNE", f"('{entry}',)")
    image = entry.startswith("image")
    assert {name for name, _ in trainer.tuned.named_parameters()} == {
        name for name in layernorms(trainer.clip) if name.startswith("visual.") == image
    }


def test_blocks_of_the_whole_model_by_name(make):
    trainer = make("FullFineTuning", "TRAINER.FULL_FINE_TUNING.TUNE", "('image_encoder:proj,1.mlp.c_fc','logit_scale')")
    expected = {"visual.proj", "logit_scale"}
    expected |= {f"visual.transformer.resblocks.1.mlp.c_fc.{kind}" for kind in ("weight", "bias")}
    assert {name for name, _ in trainer.tuned.named_parameters()} == expected


def test_logits_use_the_tuned_logit_scale(make):
    trainer = make("FullFineTuning")
    image = batch_of(trainer)["img"]
    with torch.no_grad():
        before = trainer.model_inference(image)
        trainer.tuned.logit_scale += 1
        after = trainer.model_inference(image)
    assert torch.allclose(after, before * math.e, rtol=1e-4, atol=1e-4)


def test_user_errors(make, tiny_rn):
    for section in ("LAYERNORM_TUNING", "BITFIT", "FULL_FINE_TUNING"):
        method = dict(zip(("LAYERNORM_TUNING", "BITFIT", "FULL_FINE_TUNING"), METHODS, strict=True))[section]
        with raises_user_error(f"TRAINER.{section}.TUNE", "got ()"):
            make(method, f"TRAINER.{section}.TUNE", "()")
    with raises_user_error("TRAINER.LAYERNORM_TUNING.TUNE", "('text_layernorm', 'image_batchnorm')"):
        make("LayerNormTuning", *RN, backbone=tiny_rn)

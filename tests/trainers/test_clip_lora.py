"""CLIPLoRA against the formula W + s B A, with and without dropout; its options."""

import math
from functools import partial

import pytest
import torch

from tests.reference.weight_changes import PlainChanges, with_low_rank
from tests.user_errors import raises_user_error
from trainers.common.models import weight_changes

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import batch_of, train_step


def key(name):
    return f"TRAINER.CLIPLORA.{name}"


NO_DROPOUT = (key("DROPOUT"), "0.0")
ALL = (key("MATRICES"), "('q','k','v','o','up','down')")
SCALE = 1 / math.sqrt(2)


def plain_like(trainer, scale=SCALE, keep=None):
    prompts = [TEMPLATE.format(name) for name in names_of(trainer)]
    change = partial(with_low_rank, scale=scale, keep=keep)
    return PlainChanges(plain_clip(trainer), prompts, trainer.tuned.named_parameters(), change)


def every_fourth(n):
    """A pattern of dropout that is the same for every token: every fourth element of the input is 0."""
    return (torch.arange(n) % 4 != 0) / 0.75


@pytest.fixture
def fixed_dropout(monkeypatch):
    def dropout(x, p, share):
        assert p == 0.25
        return x * every_fourth(x.shape[-1]).to(x.dtype)

    monkeypatch.setattr(weight_changes, "dropout", dropout)


@pytest.mark.parametrize("options", [(), ALL, (key("MATRICES"), "('k','o')", key("BLOCKS"), "last1")], ids=len)
def test_loss_and_gradients_equal_the_formula(make, options):
    trainer = make("CLIPLoRA", *NO_DROPOUT, key("RANK"), "3", key("ALPHA"), "4.0", *options)
    plain = plain_like(trainer, 4 / math.sqrt(3))
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


@pytest.mark.parametrize("recompute", ["False", "True"])
def test_dropout_acts_on_the_input_of_A(make, fixed_dropout, recompute):
    trainer = make("CLIPLoRA", *ALL, "MODEL.ACTIVATION_CHECKPOINTING", recompute)
    plain = plain_like(trainer, keep=every_fourth)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)
    trainer.set_model_mode("eval")
    image = batch_of(trainer)["img"]
    without = plain_like(trainer)
    with torch.no_grad():
        logits = trainer.model_inference(image)
        assert torch.allclose(logits, without.logits(image), atol=1e-4)
        assert (logits - plain.logits(image)).abs().max() > 0.01


@pytest.mark.parametrize("dropout", [False, True])
def test_twenty_sgd_steps_follow_the_formula(make, dropout, request):
    if dropout:
        request.getfixturevalue("fixed_dropout")
    trainer = make("CLIPLoRA", *FEW, *(() if dropout else NO_DROPOUT))
    plain = plain_like(trainer, keep=every_fourth if dropout else None)
    move(trainer, plain)
    assert_same_trajectory(trainer, plain, lr=0.02)


def test_a_changed_matrix_may_be_tuned_itself(make, fixed_dropout):
    trainer = make("CLIPLoRA", key("TUNE"), "('image_encoder','text_encoder')")

    def change(weights, tensors):
        tuned = {name: p for name, p in tensors.items() if not name.startswith("changes.")}
        changes = {name: p for name, p in tensors.items() if name.startswith("changes.")}
        return with_low_rank({**weights, **tuned}, changes, SCALE, every_fourth)

    plain = plain_like(trainer)
    plain.change = change
    move(trainer, plain, size=0.01)
    assert "visual.transformer.resblocks.0.attn.in_proj_weight" in plain.parameters
    assert_same_loss_and_gradients(trainer, plain)


def test_each_matrix_has_its_own_dropout(make, monkeypatch):
    """A quarter of the elements are 0, others in q than in k and v, and others in the next step."""
    trainer = make("CLIPLoRA", key("ENCODERS"), "image", key("BLOCKS"), "0")
    masks, dropout = [], weight_changes.dropout
    monkeypatch.setattr(
        weight_changes, "dropout", lambda x, p, share: masks.append(dropout(torch.ones_like(x), p, share)) or x
    )
    for _ in range(2):
        train_step(trainer, batch_of(trainer))
    assert len(masks) == 6
    for i, mask in enumerate(masks):
        assert mask.unique().tolist() == pytest.approx([0, 1 / 0.75])
        assert (mask == 0).float().mean().item() == pytest.approx(0.25, abs=0.02)
        assert not any(torch.equal(mask, other) for other in masks[:i])


def test_initial_values(make):
    trainer = make("CLIPLoRA", key("RANK"), "4")
    for name, p in trainer.tuned.named_parameters():
        if name.endswith(".B"):
            assert not p.any()
        else:  # uniform, as in a linear layer of PyTorch
            bound = 1 / math.sqrt(p.shape[1])
            assert 0.9 * bound < p.abs().max().item() <= bound
    image = batch_of(trainer)["img"]
    trainer.set_model_mode("eval")
    with torch.no_grad():
        assert torch.equal(trainer.encode_image(image), trainer.encode_image(image, tuned=False))


def test_text_blocks_before_the_first_change_are_computed_once(make):
    trainer = make("CLIPLoRA", key("BLOCKS"), "last1")
    trainer.text_features()
    assert trainer.text_cache.starts[0].blocks == len(trainer.clip.transformer.resblocks) - 1
    trainer = make("CLIPLoRA", key("ENCODERS"), "image")
    assert trainer.text_features() is trainer.zero_shot_features()


def test_a_resnet_takes_changes_of_its_text_encoder(make, tiny_rn):
    size = ("INPUT.SIZE", "(64, 64)")
    with raises_user_error(key("ENCODERS"), "'both'", tiny_rn, "text"):
        make("CLIPLoRA", *size, backbone=tiny_rn)
    trainer = make("CLIPLoRA", *size, key("ENCODERS"), "text", backbone=tiny_rn)
    train_step(trainer, batch_of(trainer))
    assert all(p.grad.any() for name, p in trainer.tuned.named_parameters() if name.endswith(".B"))


WRONG = {
    ("ENCODERS", "visual"): ("('image', 'text', 'both')", "'visual'"),
    ("MATRICES", "('q','c_fc')"): ("('q', 'k', 'v', 'o', 'up', 'down')", "('q', 'c_fc')"),
    ("MATRICES", "()"): ("one or more", "()"),
    ("MATRICES", "('q','q')"): ("each once", "('q', 'q')"),
    ("RANK", "129"): ("at most 128", "129"),
    ("BLOCKS", "0-2"): ("0 to 1", "'0-2'"),
    ("RANK", "0"): ("at least 1", "0"),
    ("ALPHA", "0.0"): ("above 0", "0.0"),
    ("DROPOUT", "1.0"): ("below 1", "1.0"),
}


@pytest.mark.parametrize("setting", WRONG, ids="-".join)
def test_user_errors(make, setting):
    name, value = setting
    with raises_user_error(key(name), *WRONG[setting]):
        make("CLIPLoRA", key(name), value)

"""KgCoOp against the formulas in tests/reference/kgcoop.py."""

import pytest
import torch

from tests.reference.kgcoop import PlainKgCoOp
from tests.user_errors import raises_user_error
from trainers.common.prompts import KGCOOP_TEMPLATES, get_template

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip

OPTIONS = ("TRAINER.COOP.CTX_INIT", "True", "TRAINER.COOP.W", "8.0")


def plain_like(trainer):
    model, ctx = plain_clip(trainer), trainer.tuned.ctx
    ul = bool(trainer.clip_names)
    return PlainKgCoOp(model, names_of(trainer), "a photo of a", ctx, template=TEMPLATE, weight=8.0, layernorm=ul)


@pytest.mark.parametrize("more", [(), ("TRAINER.COOP.TUNE", "('image_layernorm',)")], ids=["", "+UL"])
def test_loss_and_gradients_equal_the_formulas(make, more):
    trainer = make("KgCoOp", *OPTIONS, *more)
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


def test_twenty_sgd_steps_follow_the_formulas(make):
    trainer = make("KgCoOp", *OPTIONS, *FEW)
    assert_same_trajectory(trainer, plain_like(trainer))


def test_weight(make):
    assert make("KgCoOp").options.W == 1.0  # the official default; the recipe has the paper's 8
    with raises_user_error("TRAINER.COOP.W ", "-1.0"):
        make("KgCoOp", "TRAINER.COOP.W", "-1.0")


def test_the_teacher_uses_the_official_prompts(make):
    trainer = make("KgCoOp", *OPTIONS)
    assert trainer.template == TEMPLATE
    cfg = trainer.cfg.clone()
    cfg.defrost()
    cfg.DATASET.NAME = "DescribableTextures"
    assert get_template(cfg) == "{} texture."
    assert get_template(cfg, KGCOOP_TEMPLATES) == "a photo of a {}, a type of texture."


def test_official_checkpoints_load_without_the_unused_tensors(make, tmp_path, capsys):
    ctx, file = torch.randn(4, 128), tmp_path / "prompt_learner" / "model.pth.tar-100"
    unused = {"bias_vectors": torch.zeros(1, 512), "meta_net.linear1.weight": torch.zeros(512, 512),
              "meta_net.linear1.bias": torch.zeros(512), "token_prefix": torch.zeros(10, 1, 128)}  # fmt: skip
    file.parent.mkdir()
    torch.save({"state_dict": {"ctx": ctx, **unused}, "epoch": 100}, file)
    trainer = make("KgCoOp", *OPTIONS)
    trainer.load_model(str(tmp_path), epoch=100)
    assert torch.equal(trainer.tuned.ctx.data, ctx)
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "bias_vectors" in line]
    assert "4 tensors" in line

"""ProGrad against the formulas in tests/reference/prograd.py."""

import pytest
import torch
from clip import clip
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.reference.prograd import PlainProGrad
from tests.user_errors import raises_user_error
from trainers.prograd import without_conflict

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import batch_of, train_step

OPTIONS = ("TRAINER.COOP.CTX_INIT", "True", "TRAINER.COOP.N_CTX", "8", "LOSS.NAME", "prograd")
TEXT = "X X X a photo of the number"


def plain_like(trainer):
    T, strength = trainer.cfg.LOSS.T, trainer.cfg.LOSS.LAMBDA
    return PlainProGrad(
        plain_clip(trainer), names_of(trainer), TEXT, trainer.tuned.ctx, layernorm=bool(trainer.clip_names),
        template=TEMPLATE, T=T, strength=strength,
    )  # fmt: skip


@pytest.mark.parametrize(
    "more",
    [(), ("LOSS.T", "2.0", "LOSS.LAMBDA", "0.8"), ("TRAINER.COOP.TUNE", "('image_layernorm',)")],
    ids=["", "T", "+UL"],
)
def test_loss_and_gradients_equal_the_formulas(make, more):
    trainer = make("ProGrad", *OPTIONS, *more)
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


def test_twenty_sgd_steps_follow_the_formulas(make):
    trainer = make("ProGrad", *OPTIONS, *FEW)
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_trajectory(trainer, plain)


def test_the_context_starts_from_zeros_and_the_template(make):
    trainer = make("ProGrad", *OPTIONS)
    assert trainer.tuned.ctx.shape == (8, 128)
    assert (trainer.tuned.ctx[:3] == 0).all()
    ids = clip.tokenize("a photo of the number")[0, 1:6]
    assert torch.equal(trainer.tuned.ctx[3:].data, trainer.clip.token_embedding.weight[ids])


vectors = st.lists(st.floats(-1, 1, width=32), min_size=4, max_size=4).map(torch.tensor)


@settings(max_examples=200)
@given(vectors, vectors, st.floats(0, 1))
def test_without_conflict(gradient, guide, strength):
    out = without_conflict(gradient, guide, strength).double()
    gradient, guide = gradient.double(), guide.double()  # in fp32, the squares of small numbers are zero
    assert out.isfinite().all()
    if (gradient * guide).sum() >= 0 or guide.norm() == 0:
        assert torch.equal(out, gradient)
    elif guide.norm() > torch.finfo(torch.float32).tiny:
        along = guide / guide.norm()
        assert torch.allclose(out @ along, (1 - strength) * (gradient @ along), atol=1e-5)
        across = gradient - (gradient @ along) * along
        assert torch.allclose(out - (out @ along) * along, across, atol=1e-5)


def test_a_nan_loss_stops_before_the_step(make):
    trainer = make("ProGrad", *OPTIONS)
    before = trainer.tuned.ctx.clone()
    batch = batch_of(trainer)
    batch["img"][0] = float("nan")
    with pytest.raises(FloatingPointError):
        train_step(trainer, batch)
    assert torch.equal(before, trainer.tuned.ctx)


def test_user_errors(make):
    with raises_user_error("LOSS.NAME", "'prograd'", "'kd'"):
        make("ProGrad", "LOSS.NAME", "kd")
    with raises_user_error("LOSS.T ", "0.0"):
        make("ProGrad", "LOSS.T", "0.0")
    with raises_user_error("TRAINER.COOP.N_CTX", "5", "'a photo of the number'", "2"):
        make("ProGrad", "TRAINER.COOP.CTX_INIT", "True", "TRAINER.COOP.N_CTX", "2")
    with raises_user_error("TRAINER.COOP.CTX_INIT True", "DATASET.TEMPLATE", '" {}."', "'{} digit.'"):
        make("ProGrad", "TRAINER.COOP.CTX_INIT", "True", "DATASET.TEMPLATE", "{} digit.")

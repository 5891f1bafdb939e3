"""TCP against the formulas in tests/reference/tcp.py."""

import pytest
import torch

from tests.reference.tcp import PlainTCP
from tests.user_errors import raises_user_error

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, move, names_of, plain_clip
from .helpers import batch_of, train_step

LAYER = (*FEW, "TRAINER.TCP.LAYER", "2")


def plain_like(trainer, prompt="X X X X {}."):
    learned = dict(trainer.tuned.named_parameters())
    return PlainTCP(plain_clip(trainer), names_of(trainer), prompt, TEMPLATE, trainer.options.LAYER, learned)


@pytest.mark.parametrize(
    "options, prompt",
    [
        (LAYER, "X X X X {}."),
        ((*FEW, "TRAINER.TCP.LAYER", "1", "TRAINER.TCP.N_CTX", "6"), "X X X X X X {}."),
        (
            (*LAYER, "TRAINER.TCP.CTX_INIT", "a photo", "TRAINER.TCP.PROMPT", "of a {}, a digit."),
            "a photo of a {}, a digit.",
        ),
    ],
    ids=["4 tokens", "6 tokens", "words"],
)
def test_loss_and_gradients_equal_the_formulas(make, options, prompt):
    trainer = make("TCP", *options)
    plain = plain_like(trainer, prompt)
    move(trainer, plain, size=0.2)
    assert_same_loss_and_gradients(trainer, plain)


def test_twenty_steps_of_adam_follow_the_formulas(make):
    """With the official eps, in Adam with the weight decay of Dassl."""
    trainer = make("TCP", *LAYER, "OPTIM.NAME", "adam")
    plain = plain_like(trainer)
    optimiser = torch.optim.Adam(plain.parameters.values(), lr=0.002, eps=1e-3, weight_decay=5e-4)
    for group in trainer.optim.param_groups:
        group["lr"] = 0.002
    for step in range(20):
        batch = batch_of(trainer, seed=step)
        summary = train_step(trainer, batch)
        terms = plain.set_gradients(batch["img"], batch["label"])
        optimiser.step()
        for name, term in terms.items():
            assert summary[name] == pytest.approx(term.item(), rel=1e-4), (step, name)


def test_official_checkpoints_load(make, tmp_path):
    trainer = make("TCP", *LAYER)
    tensors = {name: torch.randn(p.shape).half() for name, p in trainer.tuned.named_parameters()}
    rest = {"token_prefix": torch.zeros(3, 1, 128), "token_suffix": torch.zeros(3, 72, 128)}
    (tmp_path / "prompt_learner").mkdir()
    torch.save({"state_dict": tensors | rest, "epoch": 50}, tmp_path / "prompt_learner/model.pth.tar-50")
    trainer.load_model(str(tmp_path), epoch=50)
    assert all(torch.equal(p, tensors[name].float()) for name, p in trainer.tuned.named_parameters())


def test_user_errors(make):
    for key, value, allowed in (
        ("LAYER", "3", "1 to 2"),
        ("LAYER", "0", "1 to 2"),
        ("N_CTX", "0", "at least 1"),
        ("W", "-1.0", "negative"),
        ("EPS", "0.0", "above 0"),
        ("PROMPT", "a pet", "{}"),
    ):
        with raises_user_error(f"TRAINER.TCP.{key}", allowed, value):
            make("TCP", *LAYER, f"TRAINER.TCP.{key}", value)

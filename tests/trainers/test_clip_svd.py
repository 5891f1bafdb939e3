"""CLIPSVD against the formula U diag(sigma) V, its checkpoints and its schedules."""

import math

import pytest
import torch

from tests.reference.weight_changes import PlainChanges, with_singular_values
from tests.user_errors import raises_user_error
from trainers.common import load_tuned
from trainers.common.models.algebra import singular_value_decomposition

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, names_of, plain_clip
from .helpers import batch_of, train_step

BLOCKS = ("TRAINER.CLIPSVD.BLOCKS", "last1")


def plain_like(trainer):
    prompts = [TEMPLATE.format(name) for name in names_of(trainer)]
    return PlainChanges(plain_clip(trainer), prompts, trainer.tuned.named_parameters(), with_singular_values)


def perturb(trainer, plain=None):
    rng = torch.Generator().manual_seed(3)
    for name, p in trainer.tuned.named_parameters():
        p.data *= 1 + 0.1 * torch.randn(p.shape, generator=rng)
        if plain:
            plain.parameters[name].data.copy_(p.data)


@pytest.mark.parametrize("options", [(), ("TRAINER.CLIPSVD.MATRICES", "('v','up')", *BLOCKS)], ids=len)
def test_loss_and_gradients_equal_the_formula(make, options):
    trainer = make("CLIPSVD", *options)
    plain = plain_like(trainer)
    perturb(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


def test_twenty_sgd_steps_follow_the_formula(make):
    trainer = make("CLIPSVD", *FEW)
    trainer.lr_per_iteration = False  # SGD with one learning rate
    assert_same_trajectory(trainer, plain_like(trainer), lr=0.02)


def test_it_starts_as_clip_with_its_singular_values(make):
    trainer = make("CLIPSVD")
    image = batch_of(trainer)["img"]
    with torch.no_grad():
        assert torch.equal(trainer.encode_image(image), trainer.encode_image(image, tuned=False))
        assert torch.allclose(trainer.text_features(), trainer.zero_shot_features(), atol=1e-6)  # packed otherwise
    weight = trainer.clip.get_parameter("transformer.resblocks.0.mlp.c_fc.weight")
    sigma = trainer.tuned.get_parameter("changes.transformer.resblocks.0.mlp.c_fc.weight.up.sigma")
    assert torch.allclose(sigma, torch.linalg.svdvals(weight), atol=1e-5)
    assert all(name.endswith(".sigma") for name in trainer.tuned.state_dict())


@pytest.mark.parametrize("matrix", ["tall", "wide", "singular", "zero"])
def test_decomposition(matrix):
    W = torch.randn(40, 30, dtype=torch.float64)
    W = {"tall": W, "wide": W.t(), "singular": W[:, :5] @ W[:5], "zero": 0 * W}[matrix]
    U, sigma, V = singular_value_decomposition(W)
    k = min(W.shape)
    assert U.shape == (len(W), k) and sigma.shape == (k,) and V.shape == (k, W.shape[1])
    assert torch.allclose(U @ torch.diag(sigma) @ V, W, atol=1e-12)
    for one in (U.t() @ U, V @ V.t()):
        assert torch.allclose(one, torch.eye(k, dtype=torch.float64), atol=1e-9)


def test_a_run_on_a_start_is_loaded_without_the_other_run(make, tmp_path):
    """The vectors are those of the started CLIP, although the classifier is built before it knows the start."""
    first = make("FullFineTuning", output=tmp_path / "first")
    for p in first.tuned.parameters():
        p.data *= 1.1
    first.train()
    start = ("MODEL.START_FROM", str(tmp_path / "first"))
    second = make("CLIPSVD", *start, *BLOCKS, output=tmp_path / "second")
    perturb(second)
    second.train()
    second.set_model_mode("eval")
    image = batch_of(second)["img"]
    with torch.no_grad():
        expected = second.model_inference(image)
    (tmp_path / "first").rename(tmp_path / "elsewhere")
    assert torch.allclose(load_tuned(tmp_path / "second").predict(image).logits, expected, atol=1e-4)


@pytest.mark.parametrize("official", [False, True])
def test_the_learning_rate_changes_after_each_iteration(make, official):
    """To the end of the training, or as in the official code: a cosine whose length is the number of epochs."""
    keys = "OPTIM.LR 0.01 OPTIM.WARMUP_EPOCH 0 OPTIM.MAX_EPOCH 3 OPTIM.MIN_LR 1e-6 DATALOADER.TRAIN_X.BATCH_SIZE 5"
    trainer = make("CLIPSVD", *keys.split(), "TRAINER.CLIPSVD.OFFICIAL_SCHEDULE", str(official), *BLOCKS)
    assert len(trainer.train_loader_x) == 4
    rates = []
    for _ in range(12):
        rates.append(trainer.optim.param_groups[0]["lr"])
        train_step(trainer, batch_of(trainer, 2))
    length = 3 if official else 12
    expected = [1e-6 + (0.01 - 1e-6) * (1 + math.cos(math.pi * step / length)) / 2 for step in range(12)]
    assert rates == pytest.approx(expected, rel=1e-4)


def test_user_errors(make):
    with raises_user_error("TRAINER.CLIPSVD.OFFICIAL_SCHEDULE", "OPTIM.ITERATIONS", "'8'"):
        make("CLIPSVD", "TRAINER.CLIPSVD.OFFICIAL_SCHEDULE", "True", "OPTIM.ITERATIONS", "8")
    with raises_user_error("TRAINER.CLIPSVD.MATRICES", "'c_fc'"):
        make("CLIPSVD", "TRAINER.CLIPSVD.MATRICES", "('c_fc',)")

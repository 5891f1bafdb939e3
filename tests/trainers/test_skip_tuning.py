"""SkipTuning against the formulas in tests/reference/skip_tuning.py: kept classes, gradients, learning rates."""

import pytest
import torch

from tests.reference.skip_tuning import PlainSkipTuning
from tests.user_errors import raises_user_error
from trainers.skip_tuning import kept_positions

from .compare import TEMPLATE, assert_same_trajectory, names_of, plain_clip
from .helpers import batch_of, train_step

KEY = "TRAINER.SKIP"
UPPER = (f"{KEY}.TUNE", "('image_block:last1','image_output','text_block:last1','text_output')")


def plain_like(trainer):
    prompts = [TEMPLATE.format(name) for name in names_of(trainer)]
    return PlainSkipTuning(plain_clip(trainer), prompts, lambda model: set(trainer.clip_names), trainer.kept.tolist())


def test_twenty_sgd_steps_follow_the_formulas(make):
    trainer = make("SkipTuning", *UPPER)
    assert 5 <= len(trainer.kept) < 10
    assert_same_trajectory(trainer, plain_like(trainer), images=4)
    assert trainer.train_start.blocks == 2  # of three: not computed again


def test_images_of_classes_that_are_not_kept_have_no_loss(make):
    """Nine classes in a batch, of which six are kept: with these images alone, the gradients are the same."""
    trainer = make("SkipTuning", *UPPER, f"{KEY}.LAMBDA", "0.001")
    assert trainer.kept.tolist() == [0, 1, 2, 3, 4, 5]
    image = torch.cat([batch_of(trainer, seed=i)["img"] for i in (0, 1)])[:9]
    label = torch.arange(9)
    trainer.set_model_mode("train")
    logits, terms = trainer.losses(image, label)
    known = logits[torch.arange(9), label] > -1e30
    assert known.sum() == 6 and ((logits > -1e30).sum(1) == 6).all()
    plain = plain_like(trainer)
    assert terms["ce"].item() == pytest.approx(plain.set_gradients(image, label)["ce"].item(), rel=1e-5)
    gradient = torch.autograd.grad(terms["ce"], trainer.tuned.visual.proj, retain_graph=True)[0]
    features, classes = trainer.encode_image(image[known]), (logits[0] > -1e30).nonzero().flatten()
    alone = trainer.logits(features, trainer.text_features()[classes]).log_softmax(1)
    positions = [classes.tolist().index(k) for k in label[known].tolist()]
    alone = -alone[torch.arange(6), positions].mean()
    assert torch.allclose(gradient, torch.autograd.grad(alone, trainer.tuned.visual.proj)[0], atol=1e-5)


def test_kept_positions():
    """The upper half always; of the others fewer with each position, the same in each run of a seed."""

    class Options:
        TOP_RATIO, MAX_TOP, LAMBDA = 0.5, 50, 0.3

    counts = torch.zeros(100)
    for seed in range(400):
        kept = kept_positions(100, Options, seed)
        assert kept.tolist() == kept_positions(100, Options, seed).tolist() == sorted(kept.tolist())
        counts[kept] += 1
    assert (counts[:50] == 400).all() and counts[99] == 0
    density = torch.exp(-torch.linspace(0, 5, 50) / 0.3)
    expected = 400 * (density - density[-1]) / (density[0] - density[-1])
    assert torch.allclose(counts[50:], expected, atol=40) and counts[51] > counts[54] > counts[60]
    assert kept_positions(1000, Options, 1)[:50].tolist() == list(range(50))  # MAX_TOP
    assert kept_positions(3, Options, 1).tolist() == [0, 1]
    Options.TOP_RATIO = 1.0
    assert len(kept_positions(7, Options, 1)) == 7


def test_without_a_filter_the_loss_is_that_of_all_classes(make):
    trainer = make("SkipTuning", *UPPER, f"{KEY}.TOP_RATIO", "1.0")
    other = make("FullFineTuning")
    batch = batch_of(trainer)
    for one in (trainer, other):
        one.set_model_mode("train")
    terms = [one.losses(batch["img"], batch["label"])[1]["ce"].item() for one in (trainer, other)]
    assert terms[0] == pytest.approx(terms[1], rel=1e-5)


def test_a_learning_rate_of_the_image_encoder(make):
    trainer = make("SkipTuning", *UPPER, f"{KEY}.IMAGE_LR", "5e-4", "OPTIM.WARMUP_EPOCH", "0")
    train_step(trainer, batch_of(trainer))
    text, image = trainer.optim.param_groups
    assert image["lr"] == pytest.approx(text["lr"] / 4) and any(p is trainer.tuned.visual.proj for p in image["params"])


def test_user_errors(make):
    for key, value in (("TOP_RATIO", "0.0"), ("MAX_TOP", "0"), ("LAMBDA", "0.0"), ("IMAGE_LR", "0.0")):
        with raises_user_error(f"{KEY}.", key, value):
            make("SkipTuning", *UPPER, f"{KEY}.{key}", value)
    with raises_user_error("DATASET.TEMPLATES", "DATASET.TEMPLATE"):
        make("SkipTuning", *UPPER, "DATASET.TEMPLATES", "('a {}.','the {}.')")
    with raises_user_error(f"{KEY}.TUNE", "image_block:6-11"):
        make("SkipTuning")  # a CLIP of two blocks

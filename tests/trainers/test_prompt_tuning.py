"""Prompt tuning against the formulas in tests/reference/prompt_tuning.py."""

import math

import pytest
import torch

from tests.reference.prompt_tuning import PlainPromptTuning
from tests.user_errors import raises_user_error

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import batch_of

KEY = "TRAINER.PROMPT_TUNING"
DEEP = (f"{KEY}.IMAGE_DEPTH", "0", f"{KEY}.TEXT_DEPTH", "0", f"{KEY}.N_CTX", "3")
OPTIONS = {
    "both": (),
    "deep": DEEP,
    "image": (f"{KEY}.ENCODERS", "image"),
    "text": (f"{KEY}.ENCODERS", "text"),
    "two blocks of three": (f"{KEY}.TEXT_DEPTH", "2"),
    "with LayerNorms": (f"{KEY}.TUNE", "('image_layernorm',)"),
}


def plain_like(trainer, template=TEMPLATE):
    learned = {name: p for name, p in trainer.tuned.named_parameters() if name not in trainer.clip_names}
    n_ctx, layernorm = trainer.options.N_CTX, bool(trainer.clip_names)
    return PlainPromptTuning(plain_clip(trainer), names_of(trainer), template, n_ctx, learned, layernorm=layernorm)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
def test_loss_and_gradients_equal_the_formulas(make, options):
    trainer = make("PromptTuning", *options, *FEW)
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


@pytest.mark.parametrize("options", [(), DEEP], ids=["shallow", "deep"])
def test_twenty_sgd_steps_follow_the_formulas(make, options):
    trainer = make("PromptTuning", *options, *FEW)
    assert_same_trajectory(trainer, plain_like(trainer))


@pytest.mark.parametrize("template", ["{} texture.", "a photo of a {}, a type of flower."])
def test_words_after_the_class_name(make, template):
    trainer = make("PromptTuning", "DATASET.TEMPLATE", template, *FEW)
    plain = plain_like(trainer, template)
    image = batch_of(trainer)["img"]
    with torch.no_grad():
        assert torch.allclose(trainer.model_inference(image), plain.logits(image), atol=1e-4)


def test_several_prompts_per_class_share_the_tokens(make, monkeypatch):
    """The mean of the features of two templates, in one pass of the text encoder and in two."""
    templates = ["a photo of the {}.", "{} texture."]
    keys = ("DATASET.TEMPLATES", str(tuple(templates)), *FEW)
    gradients = []
    for limit in (1024, 5):
        monkeypatch.setattr("trainers.common.prompt_ensemble.PROMPTS_PER_PASS", limit)
        trainer = make("PromptTuning", f"{KEY}.TEXT_DEPTH", "2", *keys)
        assert len(trainer.learners) == (1 if limit > 5 else 2)
        texts = [plain_like(trainer, template).text() for template in templates]
        expected = torch.nn.functional.normalize(sum(texts) / 2, dim=-1)
        text = trainer.text_features()
        assert torch.allclose(text, expected, atol=1e-5)
        text[0, 0].backward()
        gradients.append(trainer.tuned.prompt_learner.ctx.grad)
        assert set(trainer.tuned.state_dict()) == {"prompt_learner.ctx", "deep_text_tokens", "image_tokens"}
    assert gradients[0].norm() > 0 and torch.allclose(*gradients, rtol=1e-3, atol=1e-7)


def test_tokens_of_the_images_start_as_in_vpt(make):
    trainer = make("PromptTuning", f"{KEY}.N_CTX", "50", f"{KEY}.IMAGE_DEPTH", "2")
    tokens = trainer.tuned.image_tokens
    bound = math.sqrt(6 / (3 * 8**2 + 128))  # patches of 8 pixels, width 128
    assert tokens.shape == (2, 50, 128) and 0.99 * bound < tokens.abs().max() <= bound
    assert tokens.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.02)
    assert trainer.tuned.prompt_learner.ctx.std().item() == pytest.approx(0.02, rel=0.05)


@pytest.mark.parametrize("depth, scalars", [("1", 3_840), ("0", 46_080)], ids=["shallow", "deep"])
def test_number_of_parameters_of_vpt_on_vit_b16(make, vit_b16, monkeypatch, depth, scalars):
    vit_b16.fingerprint = "random"
    monkeypatch.setattr("trainers.common.models.loading.load_clip", lambda *args: vit_b16)
    options = ("INPUT.SIZE", "(224, 224)", f"{KEY}.ENCODERS", "image", f"{KEY}.IMAGE_DEPTH", depth)
    trainer = make("PromptTuning", *options, backbone="ViT-B/16")
    assert sum(p.numel() for p in trainer.tuned.parameters()) == scalars


def test_text_only_on_a_resnet(make, tiny_rn):
    options = ("INPUT.SIZE", "(64, 64)", f"{KEY}.ENCODERS", "text", f"{KEY}.TEXT_DEPTH", "2")
    trainer = make("PromptTuning", *options, backbone=tiny_rn)
    assert set(trainer.tuned.state_dict()) == {"prompt_learner.ctx", "deep_text_tokens"}
    for encoders in ("image", "both"):
        with raises_user_error("PromptTuning", "MODEL.BACKBONE.NAME", "learned tokens", tiny_rn):
            make("PromptTuning", "INPUT.SIZE", "(64, 64)", f"{KEY}.ENCODERS", encoders, backbone=tiny_rn)


def test_user_errors(make):
    with raises_user_error(f"{KEY}.ENCODERS", "image", "text", "both", "'audio'"):
        make("PromptTuning", f"{KEY}.ENCODERS", "audio")
    with raises_user_error(f"{KEY}.N_CTX", "at least 1", "got 0"):
        make("PromptTuning", f"{KEY}.N_CTX", "0")
    with raises_user_error(f"{KEY}.IMAGE_DEPTH", "1 to 2", "got 3"):
        make("PromptTuning", f"{KEY}.IMAGE_DEPTH", "3")
    with raises_user_error(f"{KEY}.TEXT_DEPTH", "1 to 3", "got -1"):
        make("PromptTuning", f"{KEY}.TEXT_DEPTH", "-1")
    with raises_user_error("77 tokens", "a photo of the number zero.", "context"):
        make("PromptTuning", f"{KEY}.N_CTX", "70")

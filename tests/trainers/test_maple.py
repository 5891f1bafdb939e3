"""MaPLe against the formulas in tests/reference/maple.py."""

import pytest
import torch

from tests.reference.maple import PlainMaPLe
from tests.user_errors import raises_user_error

from .compare import FEW, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import batch_of, train_step

DEPTH = ("TRAINER.MAPLE.PROMPT_DEPTH", "2", *FEW)


def plain_like(trainer, text="a photo of a"):
    learned = dict(trainer.tuned.named_parameters())
    return PlainMaPLe(plain_clip(trainer), names_of(trainer), text, learned, layernorm=bool(trainer.clip_names))


@pytest.mark.parametrize(
    "options",
    [DEPTH, (*DEPTH, "TRAINER.MAPLE.TUNE", "('image_layernorm',)"), ("TRAINER.MAPLE.PROMPT_DEPTH", "1", *FEW)],
    ids=["", "+UL", "shallow"],
)
def test_loss_and_gradients_equal_the_formulas(make, options):
    trainer = make("MaPLe", *options)
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


def test_twenty_sgd_steps_follow_the_formulas(make):
    trainer = make("MaPLe", *DEPTH)
    assert_same_trajectory(trainer, plain_like(trainer))


def test_more_than_four_tokens_start_from_random_vectors(make):
    trainer = make("MaPLe", *DEPTH, "TRAINER.MAPLE.N_CTX", "5")
    plain = plain_like(trainer, "X X X X X")
    image = batch_of(trainer)["img"]
    with torch.no_grad():
        assert torch.allclose(trainer.model_inference(image), plain.logits(image), atol=1e-4)


def test_initial_values(make):
    """The context starts from word embeddings; deeper projections differ from the first one."""
    trainer = make("MaPLe", *DEPTH[:1], "2")
    learner = trainer.tuned.prompt_learner
    assert torch.equal(learner.ctx.data, trainer.clip.token_embedding.weight[[320, 1125]])  # "a photo"
    assert learner.compound_prompts_text[0].std().item() == pytest.approx(0.02, rel=0.2)
    assert not torch.equal(learner.proj.weight, learner.compound_prompt_projections[0].weight)


def test_clip_stays_frozen_and_zero_shot_features_stay_available(make):
    trainer = make("MaPLe", *DEPTH)
    plain = plain_clip(trainer)
    train_step(trainer, batch_of(trainer))
    image = batch_of(trainer)["img"]
    with torch.no_grad():
        assert torch.allclose(trainer.clip.visual(image), plain.visual(image), atol=1e-6)
        zero_shot = torch.nn.functional.normalize(plain.visual(image), dim=-1)
        assert torch.allclose(trainer.encode_image(image, tuned=False), zero_shot, atol=1e-6)
        assert not torch.allclose(trainer.encode_image(image), zero_shot, atol=1e-3)


def test_official_checkpoints_of_the_whole_model_load(make, tmp_path, capsys):
    trainer = make("MaPLe", *DEPTH)
    tensors = {name: torch.randn(p.shape).half() for name, p in trainer.tuned.named_parameters()}
    rest = {f"image_encoder.{n}": p for n, p in trainer.clip.visual.state_dict().items()}
    rest |= {"logit_scale": torch.tensor(4.6), "text_encoder.ln_final.weight": torch.ones(128)}
    rest |= {f"prompt_learner.token_{name}": torch.zeros(3, n, 128) for name, n in (("prefix", 1), ("suffix", 74))}
    (tmp_path / "MultiModalPromptLearner").mkdir()
    state = {"state_dict": tensors | rest, "epoch": 5}
    torch.save(state, tmp_path / "MultiModalPromptLearner" / "model.pth.tar-5")
    trainer.load_model(str(tmp_path), epoch=5)
    assert all(torch.equal(p, tensors[name].float()) for name, p in trainer.tuned.named_parameters())
    assert f"{len(rest)} tensors" in capsys.readouterr().out


def test_user_errors(make, tiny_rn):
    for depth in ("0", "3", "9"):
        with raises_user_error("TRAINER.MAPLE.PROMPT_DEPTH", "1 to 2", f"got {depth}"):
            make("MaPLe", "TRAINER.MAPLE.PROMPT_DEPTH", depth)
    with raises_user_error("MaPLe", "ViT", "MODEL.BACKBONE.NAME", "learned tokens", tiny_rn):
        make("MaPLe", "INPUT.SIZE", "(64, 64)", backbone=tiny_rn)
    with raises_user_error("3 tokens", "'a photo'", "2"):
        make("MaPLe", *DEPTH, "TRAINER.MAPLE.N_CTX", "3", "TRAINER.MAPLE.CTX_INIT", "a photo")

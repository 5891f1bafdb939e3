"""CoOp against the formulas in tests/reference/coop.py."""

import pytest
import torch
from clip import clip

from tests.reference.coop import PlainCoOp
from tests.user_errors import raises_user_error
from trainers.common.prompt_learner import PromptLearner

from .compare import FEW, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import batch_of, train_step

WORDS = ("TRAINER.COOP.CTX_INIT", "a photo of a")
PLUS_LAYERNORM = ("TRAINER.COOP.TUNE", "('image_layernorm',)")
SHORT = ("TRAINER.COOP.N_CTX", "3")


def plain_like(trainer, text="a photo of a", **kwargs):
    ctx = trainer.tuned.ctx
    return PlainCoOp(plain_clip(trainer), names_of(trainer), text, ctx, layernorm=bool(trainer.clip_names), **kwargs)


@pytest.mark.parametrize("options", [WORDS, (*WORDS, *PLUS_LAYERNORM)], ids=["words", "+UL"])
def test_loss_and_gradients_equal_the_formulas(make, options):
    trainer = make("CoOp", *options)
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


@pytest.mark.parametrize("csc", ["False", "True"])
@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_positions_of_the_class_name(make, csc, position):
    options = (*SHORT, "TRAINER.COOP.CSC", csc, "TRAINER.COOP.CLASS_TOKEN_POSITION", position)
    trainer = make("CoOp", *options)
    assert trainer.tuned.ctx.shape == ((10, 3, 128) if csc == "True" else (3, 128))
    plain = plain_like(trainer, "X X X", position=position)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


@pytest.mark.parametrize("position", ["end", "middle", "front"])
def test_names_of_several_tokens_and_names_like_the_placeholder(make, position):
    """ "X" is also the placeholder; a full stop at the end of a name merges with the prompt's into one token."""
    names = ["x", "x x", "Boeing 737-800", "st.", "a_very long_name indeed", "seven"]
    trainer = make("CoOp", *SHORT, "TRAINER.COOP.CLASS_TOKEN_POSITION", position)
    trainer.tuned = PromptLearner(trainer.text_encoder, names, "X X X", trainer.tuned.ctx, position)
    plain = PlainCoOp(plain_clip(trainer), names, "X X X", trainer.tuned.ctx, position)
    with torch.no_grad():
        assert torch.allclose(trainer.text_features(), plain.text(), atol=1e-5)


def test_twenty_sgd_steps_follow_the_formulas(make):
    trainer = make("CoOp", *WORDS, *FEW)
    assert_same_trajectory(trainer, plain_like(trainer))


def test_the_context_starts_from_words_or_from_small_random_vectors(make):
    trainer = make("CoOp", *WORDS, "TRAINER.COOP.N_CTX", "7")  # the words override N_CTX
    ids = [320, 1125, 539, 320]  # "a photo of a" in CLIP's vocabulary
    assert torch.equal(trainer.tuned.ctx.data, trainer.clip.token_embedding.weight[ids])
    trainer = make("CoOp")
    assert trainer.tuned.ctx.shape == (16, 128)
    assert trainer.tuned.ctx.std().item() == pytest.approx(0.02, rel=0.1)
    assert trainer.tuned.ctx.mean().abs().item() < 0.002
    again = make("CoOp", seed=2)
    assert not torch.equal(trainer.tuned.ctx, again.tuned.ctx)


def test_words_of_several_tokens_keep_their_last_tokens_frozen(make):
    """As in the official code, the number of learned tokens is the number of words: two of three tokens here."""
    assert clip.tokenize("handwritten, digit").argmax() == 4  # start of text and three tokens
    trainer = make("CoOp", "TRAINER.COOP.CTX_INIT", "handwritten,_digit")
    assert trainer.tuned.ctx.shape == (2, 128)
    plain = plain_like(trainer, "handwritten, digit")
    move(trainer, plain)
    with torch.no_grad():
        assert torch.allclose(trainer.text_features(), plain.text(), atol=1e-5)


def test_official_checkpoints_load_with_a_note(make, tmp_path, capsys):
    """CoOp's checkpoints also have fixed embeddings of their classes, and a scheduler as a Python object."""
    trainer = make("CoOp", *WORDS, "DATASET.SUBSAMPLE_CLASSES", "new")
    ctx = torch.randn(4, 128).half()
    fixed = {"token_prefix": torch.randn(7, 1, 128), "token_suffix": torch.randn(7, 72, 128)}
    schedule = torch.optim.lr_scheduler.StepLR(torch.optim.SGD([torch.zeros(1)], 0.1), 1)
    state = {"state_dict": {"ctx": ctx, **fixed}, "epoch": 200, "optimizer": {}, "scheduler": {"successor": schedule}}
    (tmp_path / "prompt_learner").mkdir()
    torch.save({**state, "val_result": None}, tmp_path / "prompt_learner" / "model.pth.tar-200")
    trainer.load_model(str(tmp_path), epoch=200)
    assert torch.equal(trainer.tuned.ctx.data, ctx.float())
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "token_prefix, token_suffix" in line]
    assert "2 tensors" in line
    (tmp_path / "prompt_learner" / "checkpoint").write_text("model.pth.tar-200\n")
    with raises_user_error("model.pth.tar-200", "--eval-only --model-dir", "--output-dir"):
        trainer.resume_model_if_exist(str(tmp_path))


def test_a_csc_context_is_refused_for_other_classes(make, tmp_path):
    csc = (*SHORT, "TRAINER.COOP.CSC", "True")
    base = make("CoOp", *csc, "DATASET.SUBSAMPLE_CLASSES", "base", output=tmp_path / "a")
    base.save_model(0, str(tmp_path / "a"))
    new = make("CoOp", *csc, "DATASET.SUBSAMPLE_CLASSES", "new", output=tmp_path / "b")
    with raises_user_error("model.pth.tar-1", "zero, one, two, ...", "five, six, seven, ..."):
        new.load_model(str(tmp_path / "a"))
    make("CoOp", *csc, "DATASET.SUBSAMPLE_CLASSES", "base", output=tmp_path / "b").load_model(str(tmp_path / "a"))


def test_csc_has_no_effect_with_words_which_is_logged(make, capsys):
    trainer = make("CoOp", *WORDS, "TRAINER.COOP.CSC", "True")
    assert trainer.tuned.ctx.shape == (4, 128) and not trainer.per_class
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "TRAINER.COOP.CSC" in line]
    assert "CTX_INIT" in line


def test_user_errors(make):
    for (key, value), facts in {
        ("N_CTX", "0"): ("TRAINER.COOP.N_CTX", "at least 1", "got 0"),
        ("CLASS_TOKEN_POSITION", "start"): ("TRAINER.COOP.CLASS_TOKEN_POSITION", "'end'", "'front'", "'start'"),
        ("CTX_INIT", "True"): ("TRAINER.COOP.CTX_INIT", '"a photo of a"', "True"),
        ("N_CTX", "76"): ("77 tokens", "X X X", "DATASET.TEMPLATE"),
        ("PREC", "fp8"): ("TRAINER.COOP.PREC", "'fp16'", "'fp8'"),
        ("TUNE", "('image',)"): ("TRAINER.COOP.TUNE", "image_layernorm", "'image'"),
    }.items():
        with raises_user_error(*facts):
            make("CoOp", f"TRAINER.COOP.{key}", value)


def test_layernorms_are_tuned_with_the_context(make):
    trainer = make("CoOp", *WORDS, *PLUS_LAYERNORM)
    before = {name: p.clone() for name, p in trainer.tuned.state_dict().items()}
    train_step(trainer, batch_of(trainer))
    assert sum(name.startswith("visual.") for name in before) == 12 and len(before) == 13
    assert all(not torch.equal(p, before[name]) for name, p in trainer.tuned.state_dict().items())

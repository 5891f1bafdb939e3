"""PromptSRC and IVLP against the formulas in tests/reference/promptsrc.py."""

import math

import pytest
import torch

from tests.reference.promptsrc import PlainIVLP, PlainPromptSRC, gaussian_mean
from tests.user_errors import raises_user_error
from trainers.promptsrc import TEMPLATES, GaussianMean

from .compare import FEW, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import cut_off_at


def keys(method, **options):
    """Config keys of the section of a method, for the digits with five classes."""
    return (*FEW, *(str(x) for key, value in options.items() for x in (f"TRAINER.{method.upper()}.{key}", value)))


DEEP = dict(PROMPT_DEPTH_VISION=2, PROMPT_DEPTH_TEXT=3, N_CTX_VISION=3)
SHALLOW = dict(PROMPT_DEPTH_VISION=1, PROMPT_DEPTH_TEXT=1)
DEEP_KEYS = keys("PromptSRC", **DEEP)


def teacher_templates():
    return [line for line in TEMPLATES.read_text().splitlines() if not line.startswith("#")]


def plain_like(trainer, text="a photo of a"):
    learned = {name: p for name, p in trainer.tuned.named_parameters() if name not in trainer.clip_names}
    arguments = plain_clip(trainer), names_of(trainer), text, learned
    layernorm = bool(trainer.clip_names)
    if trainer.cfg.TRAINER.NAME == "IVLP":
        return PlainIVLP(*arguments, layernorm=layernorm)
    return PlainPromptSRC(*arguments, teacher_templates(), layernorm=layernorm)


@pytest.mark.parametrize(
    "method, options",
    [
        ("IVLP", DEEP),
        ("IVLP", SHALLOW | {"PROMPT_DEPTH_VISION": 0}),
        ("PromptSRC", DEEP),
        ("PromptSRC", DEEP | {"TUNE": ("image_layernorm",)}),
    ],
    ids=["IVLP", "text, one block", "PromptSRC", "PromptSRC with LayerNorms"],
)
def test_loss_and_gradients_equal_the_formulas(make, method, options):
    trainer = make(method, *keys(method, **options))
    plain = plain_like(trainer)
    move(trainer, plain, size=0.2)
    assert_same_loss_and_gradients(trainer, plain, least=0.001)


def test_prompts_of_the_teacher_are_not_read_for_predictions(make):
    trainer = make("PromptSRC", *DEEP_KEYS)
    with torch.inference_mode():
        trainer.model_inference(torch.zeros(1, 3, 32, 32))
    assert "packed_prompts" not in vars(trainer)
    long = make("PromptSRC", *DEEP_KEYS, "DATASET.TEMPLATES", f"('{{}} {'word ' * 90}.',)")
    with raises_user_error("77"):
        long.check_training()


def test_twenty_sgd_steps_follow_the_formulas(make):
    trainer = make("PromptSRC", *DEEP_KEYS)
    # The gradient of an L1 distance jumps where an element passes the teacher's, which amplifies rounding.
    assert_same_trajectory(trainer, plain_like(trainer), rel=1e-4)


def test_checkpoints_have_the_gaussian_mean_of_the_epochs(make, tmp_path):
    """At each epoch, after a resume too."""
    mean, std = 2.5, 1.0
    options = keys("PromptSRC", **SHALLOW, GPA_MEAN=mean, GPA_STD=std)
    options += ("OPTIM.MAX_EPOCH", "4", "OPTIM.LR", "0.1", "TRAIN.CHECKPOINT_FREQ", "1", "TEST.NO_TEST", "True")
    latest = []

    def train(stop=None):
        trainer = make("PromptSRC", *options, output=tmp_path)
        end_epoch = trainer.gaussian_mean.end_epoch

        def end_and_note(epoch):
            latest.append(trainer.tuned.image_tokens.detach().clone())
            end_epoch(epoch)

        trainer.gaussian_mean.end_epoch = end_and_note
        if stop:
            cut_off_at(trainer, *stop)
        trainer.train()
        return trainer

    with pytest.raises(KeyboardInterrupt):
        train(stop=(2, 0))
    trainer = train()
    assert trainer.start_epoch == 2 and len(latest) == 4
    for epoch in range(1, 5):
        state = torch.load(tmp_path / f"VLPromptLearner/model.pth.tar-{epoch}", weights_only=True)["state_dict"]
        expected = gaussian_mean(latest[:epoch], mean, std).float()
        assert torch.allclose(state["image_tokens"], expected, rtol=0, atol=1e-7)
    assert torch.equal(trainer.tuned.image_tokens, state["image_tokens"])
    assert not torch.allclose(state["image_tokens"], latest[3], atol=1e-4)


def test_weights_that_are_zero_as_floats():
    """exp(-0.5 * 999**2), relative to exp(-0.5 * 998**2)."""
    gaussian = GaussianMean({}, 1000, 1)
    assert gaussian.share(1) == 1 and gaussian.share(2) == pytest.approx(1)
    assert GaussianMean({}, 1, 1).share(3) == pytest.approx(math.exp(-2) / (1 + math.exp(-0.5) + math.exp(-2)))


def test_templates_of_the_teacher(make):
    assert len(set(teacher_templates())) == 60
    trainer = make("PromptSRC", *DEEP_KEYS, "DATASET.TEMPLATES", "('a {}.', 'the photo of a {}.')")
    assert [len(prompts) for prompts in trainer.prompts] == [2] * 5


def test_official_checkpoints_of_the_whole_model_load(make, tmp_path, capsys):
    trainer = make("PromptSRC", *DEEP_KEYS)
    blocks = "transformer.resblocks"
    tensors = {"prompt_learner.ctx": (4, 128), "image_encoder.VPT": (3, 128)}
    tensors |= {f"image_encoder.{blocks}.1.VPT_shallow": (3, 128)}
    tensors |= {f"text_encoder.{blocks}.{i}.VPT_shallow": (4, 128) for i in (1, 2)}
    tensors = {name: torch.randn(shape).half() for name, shape in tensors.items()}
    rest = {f"prompt_learner.ZS_image_encoder.{name}": p for name, p in trainer.clip.visual.state_dict().items()}
    rest |= {"logit_scale": torch.tensor(4.6), "text_encoder.ln_final.weight": torch.ones(128)}
    (tmp_path / "VLPromptLearner").mkdir()
    torch.save({"state_dict": tensors | rest, "epoch": 20}, tmp_path / "VLPromptLearner/model.pth.tar-20")
    trainer.load_model(str(tmp_path), epoch=20)
    ctx, *expected = (tensor.float() for tensor in tensors.values())
    assert torch.equal(trainer.tuned.prompt_learner.ctx, ctx)
    assert torch.equal(trainer.tuned.image_tokens, torch.stack(expected[:2]))
    assert torch.equal(trainer.tuned.deep_text_tokens, torch.stack(expected[2:]))
    assert f"{len(rest)} tensors" in capsys.readouterr().out


def test_initial_values(make):
    """Random vectors, but the text tokens of the first block are "a photo" with 2 tokens."""
    tuned = make("PromptSRC", *DEEP_KEYS, "TRAINER.PROMPTSRC.N_CTX_TEXT", "5").tuned
    for tensor in (tuned.prompt_learner.ctx, tuned.deep_text_tokens, tuned.image_tokens):  # above 4: random
        assert tensor.std().item() == pytest.approx(0.02, rel=0.2)
    trainer = make("IVLP", *keys("IVLP", **SHALLOW, N_CTX_TEXT=2))
    assert torch.equal(trainer.tuned.prompt_learner.ctx.data, trainer.clip.token_embedding.weight[[320, 1125]])


def test_user_errors(make, tiny_rn):
    for key, value, allowed in (
        ("PROMPT_DEPTH_VISION", "3", "0 to 2"),
        ("PROMPT_DEPTH_TEXT", "0", "1 to 3"),
        ("N_CTX_VISION", "0", "at least 1"),
        ("TEXT_LOSS_WEIGHT", "-1.0", "negative"),
        ("GPA_STD", "0.0", "above 0"),
    ):
        with raises_user_error(f"TRAINER.PROMPTSRC.{key}", allowed, f"got {value}"):
            make("PromptSRC", *DEEP_KEYS, f"TRAINER.PROMPTSRC.{key}", value)
    with raises_user_error("IVLP", "MODEL.BACKBONE.NAME", "learned tokens", tiny_rn):
        make("IVLP", "INPUT.SIZE", "(64, 64)", backbone=tiny_rn)

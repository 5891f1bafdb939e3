"""Adapter, Compacter and Compacter++ against the formulas in tests/reference/adapter.py."""

import math

import pytest
import torch

from tests.reference.adapter import PlainAdapter, PlainCompacter
from tests.user_errors import raises_user_error

from .compare import FEW, TEMPLATE, assert_same_loss_and_gradients, assert_same_trajectory, move, names_of, plain_clip
from .helpers import batch_of, train_step

TEMPLATES = (TEMPLATE, "a drawing of {}.")
METHODS = {"Adapter": PlainAdapter, "Compacter": PlainCompacter, "CompacterPP": PlainCompacter}
every_method = pytest.mark.parametrize("method", METHODS)


def plain_like(trainer):
    plain = METHODS[trainer.cfg.TRAINER.NAME]
    return plain(plain_clip(trainer), names_of(trainer), TEMPLATE, dict(trainer.tuned.named_parameters()))


def key(method, name):
    return f"TRAINER.{'COMPACTERPP' if method == 'CompacterPP' else method.upper()}.{name}"


OPTIONS = {
    "": {},
    "image": {"ENCODERS": "image"},
    "text": {"ENCODERS": "text"},
    "attention": {"PLACES": "('after_attention',)"},
    "blocks": {"BLOCKS": "last1"},
    "LayerNorm": {"TUNE": "('image_layernorm', 'text_layernorm')"},
    "bias before the first block": {"BLOCKS": "1", "TUNE": "('text_ffn_output_bias',)"},
}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("options", OPTIONS.values(), ids=OPTIONS)
@every_method
def test_loss_and_gradients_equal_the_formulas(make, method, options, recompute):
    keys = [text for name, value in options.items() for text in (key(method, name), value)]
    trainer = make(method, *keys, *FEW, "MODEL.ACTIVATION_CHECKPOINTING", str(recompute))
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_loss_and_gradients(trainer, plain)


@every_method
def test_twenty_steps_follow_the_formulas(make, method):
    trainer = make(method, *FEW)
    plain = plain_like(trainer)
    move(trainer, plain)
    assert_same_trajectory(trainer, plain)


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@every_method
def test_every_tensor_gets_a_gradient_within_two_steps(make, method, precision):
    """From the initial values of the recipe, with its optimiser. No initial value is a point without gradients."""
    keys = ("OPTIM.NAME", "adamw", "OPTIM.LR", "0.001", "OPTIM.WARMUP_EPOCH", "-1", "OPTIM.WEIGHT_DECAY", "0.0")
    trainer = make(method, *keys, *FEW, key(method, "PREC"), precision)
    before = {name: p.detach().clone() for name, p in trainer.tuned.named_parameters()}
    found = set()
    for seed in range(2):
        train_step(trainer, batch_of(trainer, seed=seed))
        found |= {name for name, p in trainer.tuned.named_parameters() if p.grad.any()}
    assert found == before.keys()
    assert not [name for name, p in trainer.tuned.named_parameters() if torch.equal(p, before[name])]


def test_initial_values_of_the_adapter(make):
    trainer = make("Adapter")
    weights = torch.cat([p.flatten() for name, p in trainer.tuned.named_parameters() if name.endswith("weight")])
    assert len(weights) == 5 * 2 * 2 * 64 * 128
    assert weights.std().item() == pytest.approx(0.88e-3, rel=0.01)  # a normal distribution cut off at two deviations
    assert weights.abs().max() <= 2e-3
    assert not any(p.any() for name, p in trainer.tuned.named_parameters() if name.endswith("bias"))


@pytest.mark.parametrize("std", [1e-4, 0.01])
def test_initial_values_of_compacter(make, std):
    keys = ("TRAINER.COMPACTER.REDUCTION", "4", "TRAINER.COMPACTER.RULE_STD", str(std))
    tuned = dict(make("Compacter", *keys).tuned.named_parameters())
    rules = torch.cat([p.flatten() for name, p in tuned.items() if name.endswith("rule")])
    assert len(rules) == 2 * 64 and rules.std().item() == pytest.approx(std, rel=0.2)
    left = tuned["inserted.image.blocks.0.after_ffn.down.left"]  # (4, 32, 1)
    right = tuned["inserted.image.blocks.0.after_ffn.down.right"]  # (4, 1, 8)
    for factors, length in ((left, 32), (right, 8)):
        limit = math.sqrt(2) * math.sqrt(6 / (length + 1))
        assert 0.8 * limit < factors.abs().max().item() <= limit
    assert not any(p.any() for name, p in tuned.items() if name.endswith("bias"))


@every_method
def test_the_teacher_sees_nothing_of_it(make, method):
    trainer = make(method)
    image = batch_of(trainer)["img"]
    with torch.no_grad():
        before = trainer.encode_image(image, tuned=False), trainer.zero_shot_features().clone()
        move(trainer, plain_like(trainer))
        trainer.text_cache.zero_shot = None
        after = trainer.encode_image(image, tuned=False), trainer.zero_shot_features()
        for one, other in zip(before, after, strict=True):
            assert torch.equal(one, other)
        assert (trainer.encode_image(image) - before[0]).norm() > 0.1
        assert (trainer.text_features() - before[1]).norm() > 0.1
    assert not [name for name, _ in trainer.image_encoder.named_parameters() if "inserted" in name]
    assert not [name for name, _ in trainer.text_encoder.named_parameters() if "inserted" in name]


@every_method
def test_matrices_are_made_once_per_step(make, method, monkeypatch):
    """Also if several prompts per class need several passes of the text encoder."""
    monkeypatch.setattr("trainers.common.prompt_ensemble.PROMPTS_PER_PASS", 5)
    trainer = make(method, *FEW, "DATASET.TEMPLATES", str(TEMPLATES))
    assert len(trainer.packed_prompts) == 2
    calls = []
    modules = type(trainer.tuned.inserted["image"])
    tensors = modules.tensors
    monkeypatch.setattr(modules, "tensors", lambda self, module: calls.append(1) or tensors(self, module))
    trainer.text_features()  # of the constant activations
    calls.clear()
    train_step(trainer, batch_of(trainer))
    assert len(calls) == sum(len(at) for part in trainer.tuned.inserted.values() for at in part.blocks.values())


def test_several_prompts_per_class(make, monkeypatch):
    monkeypatch.setattr("trainers.common.prompt_ensemble.PROMPTS_PER_PASS", 5)
    trainer = make("Compacter", *FEW, "DATASET.TEMPLATES", str(TEMPLATES))
    learned = dict(trainer.tuned.named_parameters())
    plain = [PlainCompacter(plain_clip(trainer), names_of(trainer), template, learned) for template in TEMPLATES]
    for one in plain[1:]:
        move(trainer, one)
    plain[0].parameters = plain[1].parameters
    with torch.no_grad():
        mean = sum(one.text() for one in plain)
        expected = mean / mean.norm(dim=-1, keepdim=True)
        assert torch.allclose(trainer.text_features(), expected, atol=1e-5)
        assert (expected - trainer.zero_shot_features()).norm() > 0.1


def test_text_is_encoded_once_if_only_images_have_adapters(make):
    for encoders, times in (("image", 1), ("both", 3)):
        trainer, calls = make("Adapter", "TRAINER.ADAPTER.ENCODERS", encoders), []
        trainer.text_encoder.register_forward_hook(lambda *_, calls=calls: calls.append(1))
        for seed in range(3):
            train_step(trainer, batch_of(trainer, seed=seed))
        assert len(calls) == times


def test_text_blocks_before_the_first_adapter_are_computed_once(make):
    trainer = make("Adapter", "TRAINER.ADAPTER.BLOCKS", "last1")
    trainer.text_features()
    assert trainer.text_cache.starts[0].blocks == len(trainer.clip.transformer.resblocks) - 1


def test_a_resnet_takes_adapters_in_its_text_encoder(make, tiny_rn):
    size = ("INPUT.SIZE", "(64, 64)")
    for encoders in ("both", "image"):
        with raises_user_error("TRAINER.ADAPTER.ENCODERS", repr(encoders), tiny_rn, "text"):
            make("Adapter", *size, "TRAINER.ADAPTER.ENCODERS", encoders, backbone=tiny_rn)
    trainer = make("Adapter", *size, "TRAINER.ADAPTER.ENCODERS", "text", backbone=tiny_rn)
    train_step(trainer, batch_of(trainer))
    assert all(p.grad.any() for p in trainer.tuned.parameters())


WRONG = {
    ("Adapter", "ENCODERS", "visual"): ("('image', 'text', 'both')", "'visual'"),
    ("Adapter", "PLACES", "('after_mlp',)"): ("after_attention", "after_ffn", "('after_mlp',)"),
    ("CompacterPP", "PLACES", "()"): ("after_attention", "after_ffn", "()"),
    ("Adapter", "BLOCKS", "0-2"): ("0 to 1", "'0-2'"),
    ("Adapter", "BLOCKS", "first"): ("first3", "'first'"),
    ("Adapter", "WIDTH", "0"): ("at least 1", "got 0"),
    ("Compacter", "N", "3"): ("128", "REDUCTION", "32", "image"),
    ("CompacterPP", "REDUCTION", "64"): ("TRAINER.COMPACTERPP.N", "4", "128", "2"),
    ("Compacter", "REDUCTION", "0"): ("at least 1", "0"),
    ("Compacter", "RULE_STD", "0.0"): ("above 0", "0.0"),
}


@pytest.mark.parametrize("setting", WRONG, ids=lambda setting: "-".join(setting[:2]))
def test_user_errors(make, setting):
    method, name, value = setting
    with raises_user_error(key(method, name), *WRONG[setting]):
        make(method, key(method, name), value)

"""The packed text encoder against CLIP's own on prompts padded to 77 tokens."""

import copy

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.func import functional_call

from tests.reference.models import random_clip
from tests.user_errors import raises_user_error
from trainers.common.models.packed_prompts import pack
from trainers.common.models.text import TextEncoder
from trainers.common.prompts import tokenize

CLIP = random_clip("tiny")
NAMES = {
    "one": ["cat"],
    "same": ["cat", "cat"],
    "lengths": ["cat", "x", "a very long name of a dog breed from the far north", "zebra", "two words"],
    "underscores and case": ["Grass_Field", "SEA_or_lake"],
    "non-ASCII": ["São Tomé", "猫", "naïve café", "дом"],
    "punctuation": ["e-mail", "it's", "3.5 inch"],
}


def relative_error(a, b):
    return ((a - b).norm(dim=-1) / b.norm(dim=-1)).max().item()


def both(model, prompts, **kwargs):
    tokens = tokenize(prompts)
    with torch.no_grad():
        return TextEncoder(model)(pack(tokens, **kwargs)), model.encode_text(tokens)


@pytest.mark.parametrize("template", ["a photo of a {}.", "{} texture.", "{}"])
@pytest.mark.parametrize("names", NAMES.values(), ids=NAMES)
def test_equals_clips_own_encoder(names, template):
    ours, plain = both(CLIP, [template.replace("{}", n.replace("_", " ")) for n in names])
    assert ours.shape == plain.shape
    assert relative_error(ours, plain) < 1e-6


def test_equals_clips_own_encoder_at_full_size(vit_b16):
    ours, plain = both(vit_b16, [f"a photo of a {n}." for n in NAMES["lengths"]])
    assert relative_error(ours, plain) < 1e-6


def test_a_prompt_of_exactly_77_tokens():
    ours, plain = both(CLIP, ["cat " * 75, "a cat"])
    assert relative_error(ours, plain) < 1e-6


@pytest.mark.parametrize("max_prefix", [0, 1, 3, 77])
def test_result_does_not_depend_on_the_shared_prefix(max_prefix):
    ours, plain = both(CLIP, [f"a photo of a {n}." for n in NAMES["lengths"]], max_prefix=max_prefix)
    assert relative_error(ours, plain) < 1e-6


@settings(max_examples=30)
@given(st.lists(st.lists(st.integers(1, 49405), min_size=0, max_size=12), min_size=1, max_size=6))
def test_any_tokens(bodies):
    """Random token sequences, including the empty prompt (start and end of text only)."""
    tokens = torch.zeros(len(bodies), 77, dtype=torch.long)
    for row, body in zip(tokens, bodies, strict=True):
        row[: len(body) + 2] = torch.tensor([49406, *body, 49407])
    with torch.no_grad():
        ours, plain = TextEncoder(CLIP)(pack(tokens)), CLIP.encode_text(tokens)
    assert relative_error(ours, plain) < 1e-6


def test_no_token_is_computed_twice():
    packed = pack(tokenize(["a photo of a cat.", "a photo of a dog house.", "a photo of a cat house."]))
    assert packed.prefix == 5  # start of text, "a photo of a"
    assert len(packed.tokens) == 5 + 3 + 4 + 4  # name, full stop and end of text per prompt
    assert packed.groups == ((1, 3), (2, 4))
    assert packed.tokens[packed.eot_rows].tolist() == [49407] * 3
    assert packed.classes[packed.eot_rows].tolist() == [0, 1, 2]


def test_gradients_equal_plain_autograd():
    prompts = [f"a photo of a {n}." for n in NAMES["lengths"]]
    tokens = tokenize(prompts)
    weights = torch.randn(len(prompts), 64, generator=torch.Generator().manual_seed(0))
    gradients = []
    for encode in (lambda m: TextEncoder(m)(pack(tokens)), lambda m: m.encode_text(tokens)):
        model = copy.deepcopy(CLIP).requires_grad_(True)
        (encode(model) * weights).sum().backward()
        gradients.append({n: p.grad for n, p in model.named_parameters() if p.grad is not None})
    ours, plain = gradients
    assert ours.keys() == plain.keys() and len(ours) == 3 * 12 + 5
    for name in plain:
        assert torch.allclose(ours[name], plain[name], atol=1e-5 * plain[name].abs().max().item() + 1e-8), name


def test_embeddings_that_depend_on_the_image():
    """x (B, T, d) has separate prompts per image. The result equals encoding them one by one."""
    packed = pack(tokenize(["a photo of a cat.", "a photo of a dog house."]))
    encoder = TextEncoder(CLIP)
    x = encoder.embed(packed) + torch.randn(3, 1, 128, generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        together = encoder(packed, x)
        alone = torch.stack([encoder(packed, one[None])[0] for one in x])
    assert together.shape == (3, 2, 64)
    assert relative_error(together, alone) < 1e-6


def test_too_long_prompts_are_named():
    with raises_user_error("77 tokens", "'a photo of a long long"):
        tokenize(["a photo of a cat.", "a photo of a " + "long " * 80])
    with raises_user_error("77 tokens", "X X X", " zero.", "N_CTX") as caught:
        tokenize(["X " * 500 + "zero."])
    assert len(str(caught.value)) < 400


BIAS = "transformer.resblocks.{}.mlp.c_proj.bias"
STARTS = {  # tuned parameters, number of constant blocks
    "output biases": ([BIAS.format(i) for i in range(3)], 1),
    "the last output bias": ([BIAS.format(2)], 3),
    "both FFN biases": ([BIAS.format(0), BIAS.format(0).replace("c_proj", "c_fc")], 0),
    "a LayerNorm in the middle": (["transformer.resblocks.1.ln_1.weight"], 1),
    "the last LayerNorm": (["ln_final.weight"], 3),
}


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize(("names", "blocks"), STARTS.values(), ids=STARTS)
def test_constant_start(names, blocks, recompute):
    """Features and gradients equal those of encoding from the embeddings, for changed tuned parameters."""
    encoder, packed = TextEncoder(CLIP), pack(tokenize([f"a photo of a {n}." for n in NAMES["lengths"]]))
    start = encoder.constant_start(packed, names)
    assert start.blocks == blocks and not start.x.requires_grad
    rng, results = torch.Generator().manual_seed(0), []
    changed = {n: p + 0.1 * torch.randn(p.shape, generator=rng) for n, p in encoder.named_parameters() if n in names}
    for used_start in (None, start):
        encoder.recompute = recompute and used_start is not None
        tuned = {n: p.detach().clone().requires_grad_() for n, p in changed.items()}
        features = functional_call(encoder, tuned, (packed,), {"start": used_start})
        features.square().sum().backward()
        results.append([features.detach(), *(p.grad for p in tuned.values())])
    for plain, ours in zip(*results, strict=True):
        assert plain.norm() > 0 and torch.allclose(plain, ours, rtol=1e-4, atol=1e-6 * plain.abs().max())

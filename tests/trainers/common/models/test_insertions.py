"""Insertions into the blocks of our encoders: with learned tokens, cut rows, recomputation and compilation at once."""

from dataclasses import replace

import pytest
import torch

from tests.reference.models import random_clip
from trainers.adapter import bottleneck
from trainers.common.models import blocks
from trainers.common.models.image import ViT
from trainers.common.models.insertions import PARALLEL, PLACES, Inserted
from trainers.common.models.packed_prompts import pack
from trainers.common.models.places import insertion_points
from trainers.common.models.text import TextEncoder
from trainers.common.prompts import tokenize

CLIP = random_clip("tiny")
N_IMAGE, N_TEXT = len(CLIP.visual.transformer.resblocks), len(CLIP.transformer.resblocks)
PROMPTS = [f"a photo of a {name}." for name in ("cat", "very long name of a dog", "zebra")]


def random(*shape, seed, scale=1.0):
    return scale * torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def adapters(numbers, width=128, hidden=6):
    """Insertions at all places of some blocks, and their tensors, which require gradients."""
    insertions, leaves = {}, []
    for i in numbers:
        insertions[i] = {}
        for k, place in enumerate((*PLACES, PARALLEL)):
            shapes = (hidden, width), (hidden,), (width, hidden), (width,)
            tensors = tuple(random(*s, seed=10 * i + k, scale=0.1).requires_grad_() for s in shapes)
            insertions[i][place] = Inserted(bottleneck, tensors)
            leaves += tensors
    return insertions, leaves


def plain_block(block, x, inserted, mask=None):
    """A block of CLIP's own modules on x (T, B, d)."""
    z = block.ln_1(x)
    y = block.attn(z, z, z, need_weights=False, attn_mask=mask)[0]
    parallel = bottleneck(block.ln_1(x), *inserted[PARALLEL].tensors) if inserted else 0
    x = x + (bottleneck(y, *inserted["after_attention"].tensors) if inserted else y)
    y = block.mlp(block.ln_2(x))
    return x + (bottleneck(y, *inserted["after_ffn"].tensors) if inserted else y) + parallel


def assert_same(ours, plain, leaves):
    """Asserts that two features, and their gradients, are equal."""
    assert ours.shape == plain.shape and (ours - plain).norm() <= 1e-5 * plain.norm()
    gradients = [torch.autograd.grad((f * random(*f.shape, seed=5)).sum(), leaves) for f in (ours, plain)]
    for own, other in zip(*gradients, strict=True):
        assert other.norm() > 0 and (own - other).norm() <= 1e-4 * other.norm()


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("numbers", [range(N_IMAGE), [N_IMAGE - 1], [0]], ids=["all", "last", "first"])
def test_image_features_with_learned_tokens(numbers, recompute):
    visual, image = CLIP.visual, random(3, 3, 32, 32, seed=0)
    insertions, leaves = adapters(numbers)
    prompt = random(2, 128, seed=1).requires_grad_()
    encoder = ViT(visual)
    encoder.recompute = recompute
    ours = encoder(image, [prompt], inserted=insertions)

    x = visual.conv1(image).flatten(2).transpose(1, 2)
    x = torch.cat([visual.class_embedding.expand(3, 1, -1), x], dim=1) + visual.positional_embedding
    x = visual.ln_pre(torch.cat([x, prompt.expand(3, -1, -1)], dim=1)).transpose(0, 1)
    for i, block in enumerate(visual.transformer.resblocks):
        x = plain_block(block, x, insertions.get(i))
    assert_same(ours, visual.ln_post(x[0]) @ visual.proj, [*leaves, prompt])


def with_tokens(x, tokens):
    """x (B, T, d) with learned tokens in the rows from 1."""
    return torch.cat([x[:, :1], tokens.expand(len(x), -1, -1), x[:, 1 + len(tokens) :]], dim=1)


@pytest.mark.parametrize("recompute", [False, True])
@pytest.mark.parametrize("numbers", [range(N_TEXT), [N_TEXT - 1], [1]], ids=["all", "last", "middle"])
def test_text_features_with_learned_tokens(numbers, recompute):
    tokens, learned = tokenize(PROMPTS), torch.arange(2)
    packed = replace(pack(tokens), learned_rows=learned + 1, learned_index=learned)
    insertions, leaves = adapters(numbers)
    ctx, deep = random(2, 128, seed=1).requires_grad_(), random(2, 128, seed=2).requires_grad_()
    encoder = TextEncoder(CLIP)
    encoder.recompute = recompute
    embedding = with_tokens(encoder.embed(packed), ctx)
    ours = encoder(packed, embedding, deep=(deep,), inserted=insertions)[0]

    x = with_tokens(CLIP.token_embedding(tokens), ctx) + CLIP.positional_embedding
    mask = torch.full((77, 77), float("-inf")).triu(1)
    for i, block in enumerate(CLIP.transformer.resblocks):
        x = with_tokens(x, deep) if i == 1 else x
        x = plain_block(block, x.transpose(0, 1), insertions.get(i), mask).transpose(0, 1)
    plain = CLIP.ln_final(x)[range(len(x)), tokens.argmax(-1)] @ CLIP.text_projection
    assert_same(ours, plain, [*leaves, ctx, deep])


@pytest.mark.parametrize("first", range(N_TEXT))
def test_constant_activations_end_before_the_first_insertion(first):
    encoder, packed = TextEncoder(CLIP), pack(tokenize(PROMPTS))
    insertions, leaves = adapters(range(first, N_TEXT))
    start = encoder.constant_start(packed, [], insertions)
    assert start.blocks == first and not start.x.requires_grad
    assert_same(encoder(packed, start=start, inserted=insertions), encoder(packed, inserted=insertions), leaves)


def test_a_tuned_parameter_before_the_first_insertion_ends_them_too():
    names = ["transformer.resblocks.0.mlp.c_proj.bias"]
    assert TextEncoder(CLIP).constant_start(pack(tokenize(PROMPTS)), names, [2]).blocks == 1
    assert TextEncoder(CLIP).constant_start(pack(tokenize(PROMPTS)), names, [0]).blocks == 0


@pytest.fixture
def compile_with(monkeypatch):
    """compile_with(backend): torch.compile captures whole blocks for this backend."""
    compiled = torch.compile

    def use(backend):
        monkeypatch.setattr(torch, "compile", lambda f: compiled(f, backend=backend, fullgraph=True))
        torch._dynamo.reset()
        blocks.compiled_halves.cache_clear()

    yield use
    blocks.compiled_halves.cache_clear()


@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_blocks(recompute, compile_with):
    compile_with("aot_eager")
    encoder, image = ViT(CLIP.visual), random(3, 3, 32, 32, seed=0)
    insertions, leaves = adapters(range(N_IMAGE))
    encoder.recompute = recompute
    features = []
    for encoder.compiled in (True, False):
        features.append(encoder(image, inserted=insertions))
    assert_same(*features, leaves)


def test_new_tensors_do_not_compile_a_block_again(compile_with):
    compilations, counts = [], []

    def backend(module, inputs):
        compilations.append(module)
        return module

    compile_with(backend)
    encoder = ViT(CLIP.visual)
    encoder.compiled = True
    for _ in range(3):
        encoder(random(3, 3, 32, 32, seed=0), inserted=adapters(range(N_IMAGE))[0])
        counts.append(len(compilations))
    assert counts[0] > 0 and counts == counts[:1] * 3


def test_insertion_points():
    for encoder, prefix, n in ((True, "visual.", N_IMAGE), (False, "", N_TEXT)):
        names = [f"{prefix}transformer.resblocks.{i}" for i in range(n)]
        modules = {"after_attention": ".attn", "after_ffn": ".mlp.c_proj", PARALLEL: ""}
        expected = [{place: (b + module, 128) for place, module in modules.items()} for b in names]
        assert insertion_points(CLIP, encoder) == expected
    assert insertion_points(random_clip("tiny-RN"), image=True) == []

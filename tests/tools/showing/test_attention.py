"""Attention rollout against plain loops, and recorded attention matrices against those of PyTorch's own layer."""

import contextlib
import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

from tests.reference.models import random_clip
from tests.user_errors import raises_user_error
from tools.showing.attention import Grid, Recorder, grid_of, rollout
from tools.showing.model import Model
from trainers.common.models.backbones import load_backbone
from trainers.common.models.image import image_encoder


@pytest.fixture(scope="module")
def open_clip_models(tmp_path_factory):
    """open_clip_models(name) -> a backbone of a small model with random weights."""
    reference = pytest.importorskip("tests.reference.open_clip_models", reason="open_clip is not installed")
    folder = tmp_path_factory.mktemp("open_clip")
    reference.register(folder)

    def make(name):
        torch.save(reference.random_weights(name), folder / f"{name}.pt")
        return load_backbone(f"open_clip:{name}/{folder / name}.pt", "fp32")

    yield make
    reference.unregister(folder)


def attention_maps(n_blocks, queries, keys=None, heads=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    scores = torch.randn(n_blocks, 2, heads, queries, keys or queries, generator=generator)
    return list(scores.softmax(dim=-1))


def plain_rollout(maps) -> np.ndarray:
    """Abnar and Zuidema 2020, section 3: the product of the blocks' (mean over heads + identity) / 2, (B, T, T)."""
    results = []
    for image in range(len(maps[0])):
        product = np.eye(maps[0].shape[-1])
        for block in maps:
            heads = block[image].double().numpy()
            mean = sum(heads) / len(heads)
            product = (0.5 * mean + 0.5 * np.eye(len(mean))) @ product
        results.append(product)
    return np.array(results)


def test_rollout_equals_the_plain_formula():
    maps = attention_maps(3, 10)
    found = rollout(maps, Grid(first=1, side=3))
    np.testing.assert_allclose(found.flatten(1).numpy(), plain_rollout(maps)[:, 0, 1:], atol=1e-6)


def test_without_a_class_token_the_mean_of_the_patches_is_read():
    maps = attention_maps(2, 9)
    found = rollout(maps, Grid(first=0, side=3, read="patches"))
    np.testing.assert_allclose(found.flatten(1).numpy(), plain_rollout(maps).mean(axis=1), atol=1e-6)


def test_a_last_block_for_the_class_token_alone_changes_nothing():
    maps = attention_maps(3, 10)
    grid = Grid(first=1, side=3)
    torch.testing.assert_close(rollout([*maps[:2], maps[2][:, :, :1]], grid), rollout(maps, grid))


def test_a_pooling_layer_reads_the_patches_without_a_residual_connection():
    maps, pooling = attention_maps(2, 9), attention_maps(1, 1, 9, seed=1)[0]
    found = rollout([*maps, pooling], Grid(first=0, side=3, read="query"))
    expected = pooling.mean(1).double().numpy() @ plain_rollout(maps)  # (B, 1, 9)
    np.testing.assert_allclose(found.flatten(1).numpy(), expected[:, 0], atol=1e-6)


@pytest.mark.parametrize("learned, at", [("end", 10), ("after", 1)])
def test_what_learned_tokens_pass_on_is_not_counted(learned, at):
    """With two learned tokens that nothing attends to, the result is that of the same matrices without them."""
    maps = attention_maps(3, 10)
    wider = []
    for block in maps:
        rows = torch.cat([block[:, :, :at], torch.rand(2, 3, 2, 10), block[:, :, at:]], dim=2)
        wider.append(torch.cat([rows[..., :at], torch.zeros(2, 3, 12, 2), rows[..., at:]], dim=3))
    grid = Grid(first=1, side=3)
    torch.testing.assert_close(rollout(wider, dataclasses.replace(grid, learned=learned)), rollout(maps, grid))


def test_recorded_maps_of_our_encoder_equal_those_of_openais():
    """Ours calls PyTorch's attention function, OpenAI's the module nn.MultiheadAttention: two ways to record."""
    visual = random_clip("tiny").visual.eval()
    image = torch.randn(2, 3, visual.input_resolution, visual.input_resolution)
    found = []
    for encoder in (image_encoder(visual), visual):
        with torch.no_grad():
            expected = encoder(image)
            with Recorder() as recorder:
                torch.testing.assert_close(encoder(image), expected)
        found.append(recorder.maps)
    ours, theirs = found
    assert len(ours) == len(theirs) == len(visual.transformer.resblocks)
    for i, (a, b) in enumerate(zip(ours, theirs, strict=True)):
        torch.testing.assert_close(a, b[:, :, : a.shape[2]], msg=f"block {i}")
        torch.testing.assert_close(a.sum(-1), torch.ones(a.shape[:-1]))
    grid = grid_of(ours)
    assert grid == grid_of(theirs) and grid.tokens == visual.positional_embedding.shape[0]
    torch.testing.assert_close(rollout(ours, grid), rollout(theirs, grid))


@pytest.mark.parametrize("masked", [False, True])
def test_recorded_weights_give_the_output_of_the_layer(masked):
    layer = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    x = torch.randn(3, 5, 8)
    mask = torch.ones(5, 5, dtype=torch.bool).triu(1) if masked else None
    with torch.no_grad(), Recorder() as recorder:
        layer(x, x, x, attn_mask=mask, need_weights=False)
    expected = layer(x, x, x, attn_mask=mask, average_attn_weights=False)[1]
    torch.testing.assert_close(recorder.maps[0], expected)


def test_an_encoder_without_attention_between_patches_is_refused():
    visual = random_clip("tiny-RN").visual.eval()
    with torch.no_grad(), Recorder() as recorder:
        visual(torch.randn(1, 3, visual.input_resolution, visual.input_resolution))
    with raises_user_error("image encoder", "patches"):
        grid_of(recorder.maps)
    with raises_user_error("12 tokens"):
        grid_of(attention_maps(2, 12))
    with raises_user_error("patches"):
        grid_of(attention_maps(2, 9) + attention_maps(1, 4, 9), blocks=2)


@pytest.mark.parametrize(
    "name, first, read",
    [("tiny-ViT-context", 1, "class"), ("tiny-CLIPA", 1, "patches"), ("tiny-SigLIP", 0, "query"),
     ("tiny-PE-Core", 1, "query")],
)  # fmt: skip
@torch.no_grad()
def test_where_open_clips_encoders_read_the_feature(name, first, read, open_clip_models):
    """open_clip's models call PyTorch's module nn.MultiheadAttention, timm's its function."""
    backbone = open_clip_models(name)
    side = backbone.preprocess.size
    image = torch.randn(2, 3, side, side, generator=torch.Generator().manual_seed(0))
    trainer = SimpleNamespace(
        image_encoder=backbone.image_encoder, device=image.device, autocast=contextlib.nullcontext,
        encode_image=lambda x, tuned: backbone.image_encoder(x),
    )  # fmt: skip
    model = Model.__new__(Model)
    model.trainer = trainer
    expected = backbone.image_encoder(image)
    with Recorder() as recorder:
        torch.testing.assert_close(backbone.image_encoder(image), expected)
    grid = model.grid(image, recorder.maps)
    assert (grid.first, grid.read) == (first, read)
    assert rollout(recorder.maps, grid).shape == (2, grid.side, grid.side)

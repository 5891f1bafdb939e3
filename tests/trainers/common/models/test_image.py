"""The image encoder against CLIP's own: features, gradients, learned tokens."""

import copy

import pytest
import torch
from torch.func import functional_call

from tests.reference.models import random_clip
from trainers.common.models.image import ViT, image_encoder

CLIP = random_clip("tiny")


def images(n=3, side=32):
    return torch.randn(n, 3, side, side, generator=torch.Generator().manual_seed(0))


def test_a_resnet_is_returned_unchanged():
    visual = random_clip("tiny-RN").visual
    assert image_encoder(visual) is visual


@pytest.mark.parametrize("n", [1, 3])
def test_features(n):
    with torch.no_grad():
        ours, plain = image_encoder(CLIP.visual)(images(n)), CLIP.visual(images(n))
    assert ours.shape == plain.shape == (n, 64)
    assert ((ours - plain).norm() / plain.norm()).item() < 1e-6


def test_features_and_gradients_at_full_size(vit_b16):
    """The size at which a CPU uses oneDNN; LayerNorm gradients pass twelve frozen blocks."""
    image, results = images(2, 224), []
    for encoder in (vit_b16.visual, image_encoder(vit_b16.visual)):
        names = [n for n, _ in encoder.named_parameters() if "ln_" in n]
        tuned = {n: encoder.get_parameter(n).detach().clone().requires_grad_() for n in names}
        features = functional_call(encoder, tuned, (image,))
        features.square().sum().backward()
        results.append([features.detach(), *(tuned[n].grad for n in sorted(names))])
    assert len(results[0]) == 53
    for plain, ours in zip(*results, strict=True):
        assert ((ours - plain).norm() / plain.norm()).item() < 1e-5


@pytest.mark.parametrize("recompute", [False, True])
def test_gradients_of_every_parameter(recompute):
    results = []
    for wrap in (lambda visual: visual, ViT):
        encoder = wrap(copy.deepcopy(CLIP.visual).requires_grad_(True))
        encoder.recompute = recompute
        encoder(images()).square().sum().backward()
        results.append({n: p.grad for n, p in encoder.named_parameters()})
    plain, ours = results
    assert plain.keys() == ours.keys()
    for name in plain:
        assert torch.allclose(plain[name], ours[name], rtol=1e-4, atol=1e-5 * plain[name].abs().max()), name


def test_recomputed_blocks_use_the_substituted_tensors():
    """`functional_call` restores CLIP's own parameters before the backward pass, which recomputes the blocks."""
    encoder, gradients = ViT(CLIP.visual), []
    for recompute in (False, True):
        encoder.recompute = recompute
        weight = (2 * encoder.get_parameter("transformer.resblocks.1.ln_1.weight").detach()).requires_grad_()
        functional_call(encoder, {"transformer.resblocks.1.ln_1.weight": weight}, (images(),)).square().sum().backward()
        gradients.append(weight.grad)
    assert gradients[0].norm() > 0 and torch.allclose(*gradients, rtol=1e-5)


def test_learned_tokens_are_appended_and_replaced_per_block():
    """Compared with MaPLe's formulas, computed with CLIP's own blocks."""
    visual, prompts = CLIP.visual, [torch.randn(2, 128, generator=torch.Generator().manual_seed(i)) for i in (1, 2)]
    with torch.no_grad():
        ours = ViT(visual)(images(), prompts)
        x = visual.conv1(images()).reshape(3, 128, -1).permute(0, 2, 1)
        x = torch.cat([visual.class_embedding.expand(3, 1, -1), x], dim=1) + visual.positional_embedding
        x = visual.ln_pre(torch.cat([x, prompts[0].expand(3, -1, -1)], dim=1)).permute(1, 0, 2)
        x = visual.transformer.resblocks[0](x)
        x = visual.transformer.resblocks[1](torch.cat([x[:-2], prompts[1][:, None].expand(-1, 3, -1)]))
        plain = visual.ln_post(x[0]) @ visual.proj
    assert torch.allclose(ours, plain, atol=1e-5)
    with torch.no_grad():
        assert not torch.allclose(ours, ViT(visual)(images()), atol=1e-3)


@pytest.mark.parametrize("recompute", [False, True])
def test_compiled_blocks(recompute, monkeypatch):
    """torch.compile captures whole blocks; features and gradients are equal. Code generation itself is not tested."""
    from trainers.common.models import blocks

    compiled = torch.compile
    monkeypatch.setattr(torch, "compile", lambda f: compiled(f, backend="aot_eager", fullgraph=True))
    blocks.compiled_halves.cache_clear()
    encoder, results = ViT(CLIP.visual), []
    encoder.recompute = recompute
    for encoder.compiled in (False, True):
        names = [n for n, _ in encoder.named_parameters() if "ln_" in n]
        tuned = {n: encoder.get_parameter(n).detach().clone().requires_grad_() for n in names}
        features = functional_call(encoder, tuned, (images(),))
        features.square().sum().backward()
        results.append([features.detach(), *(p.grad for p in tuned.values())])
    blocks.compiled_halves.cache_clear()
    for plain, ours in zip(*results, strict=True):
        assert torch.allclose(plain, ours, rtol=1e-4, atol=1e-5 * plain.abs().max())

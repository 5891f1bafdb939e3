"""The lean QuickGELU against the plain one under autograd."""

import pytest
import torch
from clip.model import QuickGELU
from torch.autograd.graph import saved_tensors_hooks

from tests.reference.models import random_clip
from trainers.common.activations import LeanQuickGELU, use_lean_activations


@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float64, 1e-12), (torch.float32, 1e-5), (torch.bfloat16, 3e-2)])
def test_values_and_gradients(dtype, rtol):
    x = (3 * torch.randn(1000, generator=torch.Generator().manual_seed(0))).to(dtype)
    grad = torch.randn(1000, generator=torch.Generator().manual_seed(1)).to(dtype)
    results = []
    for function in (QuickGELU(), LeanQuickGELU()):
        leaf = x.clone().requires_grad_()
        y = function(leaf)
        y.backward(grad)
        results.append((y.detach(), leaf.grad))
    (plain, plain_grad), (lean, lean_grad) = results
    assert torch.equal(plain, lean)
    assert torch.allclose(plain_grad, lean_grad, rtol=rtol, atol=rtol)


def test_gradcheck():
    x = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(LeanQuickGELU(), (x,))


def test_an_encoder_keeps_less_and_gives_the_same():
    """Bytes that autograd keeps for a backward pass through a frozen image tower."""
    image = torch.randn(4, 3, 32, 32, generator=torch.Generator().manual_seed(0))

    def run(lean):
        model, kept = random_clip("tiny"), {}
        if lean:
            use_lean_activations(model)
            assert not any(isinstance(m, QuickGELU) for m in model.modules())
        model.visual.ln_pre.weight.requires_grad_()
        with saved_tensors_hooks(lambda t: kept.update({t.data_ptr(): t.nbytes}) or t, lambda t: t):
            features = model.encode_image(image)
        features.square().sum().backward()
        return features.detach(), model.visual.ln_pre.weight.grad, sum(kept.values())

    (f0, g0, plain), (f1, g1, lean) = run(False), run(True)
    assert torch.equal(f0, f1) and torch.allclose(g0, g1, rtol=1e-4, atol=1e-6)
    gate = 2 * 4 * 17 * 4 * 128 * 4  # blocks, images, tokens, FFN width, bytes
    assert plain - lean >= gate

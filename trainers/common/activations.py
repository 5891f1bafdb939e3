"""CLIP's QuickGELU with a backward pass that keeps its input only.

Plain autograd keeps two tensors for x * sigmoid(1.702 x): x and the sigmoid. They are the largest activations of a
block (4 d a token each), so that dropping one saves about a quarter of a frozen encoder's activation memory.
"""

import torch
from clip.model import QuickGELU
from torch import nn

SLOPE = 1.702


class _QuickGELU(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x * torch.sigmoid(SLOPE * x)

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        gate = torch.sigmoid(SLOPE * x)
        # d/dx x s(cx) = s + c x s (1 - s) = s (1 + c x (1 - s)); in place, to need two temporary tensors at most
        inner = (1 - gate).mul_(x).mul_(SLOPE).add_(1)
        return inner.mul_(gate).mul_(grad)


class LeanQuickGELU(nn.Module):
    """x * sigmoid(1.702 x), elementwise; the same values and gradients as `clip.model.QuickGELU`."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return _QuickGELU.apply(x)


def use_lean_activations(model: nn.Module) -> None:
    """Put LeanQuickGELU in the place of every QuickGELU of a CLIP."""
    for module in list(model.modules()):
        for name, child in module.named_children():
            if isinstance(child, QuickGELU):
                setattr(module, name, LeanQuickGELU())

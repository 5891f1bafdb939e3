"""Gradient reversal (https://arxiv.org/abs/1409.7495)."""

import torch
from torch import nn


class _ReverseGrad(torch.autograd.Function):
    @staticmethod
    def forward(ctx, input, grad_scaling):
        ctx.grad_scaling = grad_scaling
        return input.view_as(input)

    @staticmethod
    def backward(ctx, grad_output):
        return -ctx.grad_scaling * grad_output, None


reverse_grad = _ReverseGrad.apply


class ReverseGrad(nn.Module):
    """The identity function; multiplies the gradient by -grad_scaling."""

    def forward(self, x, grad_scaling=1.0):
        if grad_scaling < 0:
            raise ValueError(f"grad_scaling must be 0 or more, got {grad_scaling}")
        return reverse_grad(x, grad_scaling)

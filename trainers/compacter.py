"""Compacter and Compacter++: adapters whose matrices are sums of Kronecker products with a shared factor.

Compacter: Efficient Low-Rank Hypercomplex Adapter Layers, https://arxiv.org/abs/2106.04647

A matrix of an adapter is W = sum_i A_i (x) (s_i t_i^T), i = 1 to n. The rule A (n, n, n) is shared by all adapters of
an encoder, and s_i and t_i are vectors. Compacter++ has adapters after the FFN only.

Deliberate differences from the official code, which is for T5:

- One rule per encoder. The official code has one for the whole model, encoder and decoder.
- LayerNorms stay frozen by default. The official code tunes them: TRAINER.COMPACTER.TUNE "('image_layernorm',
  'text_layernorm')".
- The classifier is CLIP's: the text features of the classes.
"""

import math

import torch
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .adapter import Adapter, add_options, bottleneck
from .common.models.insertions import InsertedModules

for _name, _places in (("COMPACTER", ("after_attention", "after_ffn")), ("COMPACTERPP", ("after_ffn",))):
    _section = CN()
    add_options(_section, _places)
    _section.N = 4  # number n of Kronecker products; divides the width of a block and of the bottleneck
    _section.REDUCTION = 32  # the bottleneck has 1 / REDUCTION of the width of a block
    _section.RULE_STD = 1e-4  # of the initial rule A
    cfg_default.TRAINER[_name] = _section


class HypercomplexLinear(nn.Module):
    """The factors s_i (n, n_in / n, 1) and t_i (n, 1, n_out / n) of a matrix, and a bias (n_out,)."""

    def __init__(self, n_in: int, n_out: int, n: int):
        super().__init__()
        self.left = nn.Parameter(torch.empty(n, n_in // n, 1))
        self.right = nn.Parameter(torch.empty(n, 1, n_out // n))
        self.bias = nn.Parameter(torch.zeros(n_out))
        for factor in (*self.left.data, *self.right.data):
            nn.init.xavier_uniform_(factor, gain=math.sqrt(2))

    def weight(self, rule: torch.Tensor) -> torch.Tensor:
        """Returns the transpose (n_out, n_in) of the matrix with this rule (n, n, n)."""
        outer = self.left * self.right  # (n, n_in / n, n_out / n)
        products = rule[:, :, None, :, None] * outer[:, None, :, None, :]  # (n, n, n_in / n, n, n_out / n)
        return products.sum(0).flatten(2, 3).flatten(0, 1).t()


class HypercomplexBottleneck(nn.Module):
    """The factors of one adapter."""

    function = staticmethod(bottleneck)

    def __init__(self, width: int, hidden: int, n: int):
        super().__init__()
        self.down = HypercomplexLinear(width, hidden, n)
        self.up = HypercomplexLinear(hidden, width, n)

    def tensors(self, rule: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return self.down.weight(rule), self.down.bias, self.up.weight(rule), self.up.bias


class HypercomplexModules(InsertedModules):
    """The adapters of one encoder with their rule."""

    def __init__(self, widths: dict[int, dict[str, int]], make, n: int, std: float):
        super().__init__(widths, make)
        self.rule = nn.Parameter(torch.empty(n, n, n).normal_(std=std))

    def tensors(self, module):
        return module.tensors(self.rule)


@TRAINER_REGISTRY.register()
class Compacter(Adapter):
    """Compacter's trainer: minimises CE."""

    section = "COMPACTER"
    model_name = "compacter"

    def check_sizes(self, options):
        key = f"TRAINER.{self.section}"
        if min(options.N, options.REDUCTION) < 1:
            raise ValueError(f"{key}.N and {key}.REDUCTION must be at least 1, got {options.N} and {options.REDUCTION}")
        if not options.RULE_STD > 0:
            raise ValueError(f"{key}.RULE_STD must be above 0, as no gradient leaves zero, got {options.RULE_STD}")

    def modules_of(self, encoder, widths):
        n, reduction = self.options.N, self.options.REDUCTION
        for width in sorted({width for places in widths.values() for width in places.values()}):
            hidden = width // reduction
            if hidden < 1 or hidden % n or width % n:
                raise ValueError(
                    f"TRAINER.{self.section}.N {n} must divide the width of the blocks and of the bottleneck, but in "
                    f"the {encoder} encoder these are {width} and {width} / REDUCTION {reduction} = {hidden}: change "
                    f"TRAINER.{self.section}.N or TRAINER.{self.section}.REDUCTION"
                )

        def make(width: int) -> nn.Module:
            return HypercomplexBottleneck(width, width // reduction, n)

        return HypercomplexModules(widths, make, n, self.options.RULE_STD)


@TRAINER_REGISTRY.register()
class CompacterPP(Compacter):
    """Compacter++: adapters after the FFN only."""

    section = "COMPACTERPP"
    model_name = "compacter_pp"

"""MMA: adapters parallel to the upper blocks of both encoders, whose middle matrices the encoders share.

MMA: Multi-Modal Adapter for Vision-Language Models,
https://openaccess.thecvf.com/content/CVPR2024/papers/Yang_MMA_Multi-Modal_Adapter_for_Vision-Language_Models_CVPR_2024_paper.pdf

The output of block i becomes x_out + s W_up relu(W_i relu(W_down z)), where z is the block's input x after its first
LayerNorm, and s ADAPTER_SCALE. W_i is that of both encoders; all matrices have biases.

As in the official code, a gradient of these matrices is GRADIENT_FACTOR times that of the loss, by default 1 / s. With
SGD this is a learning rate of OPTIM.LR / s and a weight decay of OPTIM.WEIGHT_DECAY * s. Gradients of everything else
stay as they are. The factor is applied to the gradients and not to the learning rate: a thousandth of a gradient could
vanish in fp16, and AdamW, which divides by the size of the gradients, would take steps a thousand times as large.

Deliberate differences from the official code:

- The matrices are fp32 masters at every precision.
- Text features are computed again in each evaluation. The official code keeps those of the first one, so with
  TEST.FINAL_MODEL best_val it tests with the text features of the first validation.
- ADAPTER_START 0, which adapts the embeddings, is not supported. No published setting has it.
- TEXT_CTX_INIT "" uses the prompt of the dataset. The official code then uses the class name alone.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn
from yacs.config import CfgNode as CN

from dassl.config import cfg_default
from dassl.engine import TRAINER_REGISTRY

from .common.classes import check_text
from .common.models.backbones import outline
from .common.models.insertions import PARALLEL, InsertedModules
from .common.models.places import Unsupported
from .common.trainer import ClipTrainer

cfg_default.TRAINER.MMA = CN()
cfg_default.TRAINER.MMA.PREC = "auto"  # auto (fp16 on CUDA, else fp32), fp32, fp16, bf16, amp
cfg_default.TRAINER.MMA.TEXT_CTX_INIT = ""  # words before the class name, for every dataset; "": the dataset's prompt
cfg_default.TRAINER.MMA.ADAPTER_START = 5  # first block with an adapter, counted from 1
cfg_default.TRAINER.MMA.ADAPTER_END = 12  # last block with an adapter, counted from 1
cfg_default.TRAINER.MMA.ADAPTER_DIM = 32  # width of the bottleneck
cfg_default.TRAINER.MMA.ADAPTER_SCALE = 0.001  # factor of what the adapters add
cfg_default.TRAINER.MMA.GRADIENT_FACTOR = (
    0.0  # of the adapters' gradients; 0: 1 / ADAPTER_SCALE, as in the official code
)
cfg_default.TRAINER.MMA.TUNE = ()  # parameter sets of CLIP tuned too


class ScaledGradient(torch.autograd.Function):
    """Multiplies by one factor in the forward pass, and by another one in the backward pass."""

    @staticmethod
    def forward(ctx, x, factor: float, gradient_factor: float):
        ctx.gradient_factor = gradient_factor
        return x * factor

    @staticmethod
    def backward(ctx, grad):
        return grad * ctx.gradient_factor, None, None


def adapter(z: torch.Tensor, *tensors: torch.Tensor, scale: float, gradient_factor: float) -> torch.Tensor:
    """Returns scale * up relu(shared relu(down z)) for z (..., d).

    Args:
        tensors: weight and bias of the layers down (r, d), shared (r, r) and up (d, r).
        gradient_factor: multiplies the gradients of `tensors`; that of z is exact.
    """
    down, down_bias, shared, shared_bias, up, up_bias = tensors
    z = ScaledGradient.apply(z, 1.0, 1 / gradient_factor)
    hidden = F.relu(F.linear(z, down, down_bias))  # (..., r)
    hidden = F.relu(F.linear(hidden, shared, shared_bias))
    return ScaledGradient.apply(F.linear(hidden, up, up_bias), scale, scale * gradient_factor)


def layer(n_in: int, n_out: int) -> nn.Linear:
    """Returns a linear layer with the initial values of the official code."""
    linear = nn.Linear(n_in, n_out)
    nn.init.kaiming_normal_(linear.weight, mode="fan_out", nonlinearity="relu")
    nn.init.zeros_(linear.bias)
    return linear


class SharedBottleneck(nn.Module):
    """The layers of one adapter. The middle one, `shared`, is registered elsewhere, as both encoders have it."""

    def __init__(self, width: int, shared: nn.Linear, function):
        super().__init__()
        self.down = layer(width, shared.in_features)
        self.up = layer(shared.in_features, width)
        self.function = function
        self.shared = (shared,)

    def tensors(self) -> tuple[torch.Tensor, ...]:
        return tuple(t for linear in (self.down, *self.shared, self.up) for t in (linear.weight, linear.bias))


@TRAINER_REGISTRY.register()
class MMA(ClipTrainer):
    """MMA's trainer: minimises CE."""

    section = "MMA"
    model_name = "mma"
    upstream_names = ("MultiModalAdapter",)
    upstream_section = "MMADAPTER"

    @classmethod
    def complete_cfg(cls, cfg):
        super().complete_cfg(cfg)
        name, options = cfg.MODEL.BACKBONE.NAME, cfg.TRAINER.MMA
        n_blocks = min(len(outline(name).insertion_points(image)) for image in (True, False))
        if not n_blocks:
            raise Unsupported(
                f"{cfg.TRAINER.NAME} adds adapters to transformer blocks, and the image encoder of "
                f"MODEL.BACKBONE.NAME {name} has none: use a ViT such as ViT-B/16"
            )
        if not 1 <= options.ADAPTER_START <= options.ADAPTER_END <= n_blocks:
            raise Unsupported(
                f"TRAINER.MMA.ADAPTER_START and ADAPTER_END must be blocks from 1 to {n_blocks}, the number of blocks "
                f"of the shorter encoder, in this order, got {options.ADAPTER_START} and {options.ADAPTER_END}"
            )

    def check_cfg(self, cfg):
        super().check_cfg(cfg)
        options = cfg.TRAINER.MMA
        if options.ADAPTER_DIM < 1:
            raise ValueError(f"TRAINER.MMA.ADAPTER_DIM must be at least 1, got {options.ADAPTER_DIM}")
        if options.ADAPTER_SCALE <= 0:
            raise ValueError(f"TRAINER.MMA.ADAPTER_SCALE must be above 0, got {options.ADAPTER_SCALE}")
        if options.GRADIENT_FACTOR < 0:
            raise ValueError(
                "TRAINER.MMA.GRADIENT_FACTOR must be above 0, or 0 for 1 / ADAPTER_SCALE, got "
                f"{options.GRADIENT_FACTOR}"
            )
        words = check_text(options.TEXT_CTX_INIT, "TRAINER.MMA.TEXT_CTX_INIT")
        if "{}" in words:
            raise ValueError(f"TRAINER.MMA.TEXT_CTX_INIT must be the words before the class name, got {words!r}")

    def prompt_template(self):
        words = self.options.TEXT_CTX_INIT.strip()
        return f"{words} {{}}." if words else super().prompt_template()

    def build_tuned(self, classnames):
        options = self.options
        points = {encoder: self.backbone.insertion_points(encoder == "image") for encoder in ("image", "text")}
        dim, blocks = options.ADAPTER_DIM, range(options.ADAPTER_START - 1, options.ADAPTER_END)
        tuned = nn.Module()
        tuned.shared = nn.ModuleDict({str(i): layer(dim, dim) for i in blocks})
        tuned.inserted = nn.ModuleDict()
        for encoder, at in points.items():
            widths = {i: {PARALLEL: at[i][PARALLEL][1]} for i in blocks}
            tuned.inserted[encoder] = self.modules_of(widths, list(tuned.shared.values()))
        return tuned

    def modules_of(self, widths: dict[int, dict[str, int]], shared: list[nn.Linear]) -> InsertedModules:
        """Returns the adapters of one encoder, given its widths at each block and the middle layer of each block."""
        scale = self.options.ADAPTER_SCALE
        factor = self.options.GRADIENT_FACTOR or 1 / scale
        function = partial(adapter, scale=scale, gradient_factor=factor)
        layers = iter(shared)
        return InsertedModules(widths, lambda width: SharedBottleneck(width, next(layers), function))

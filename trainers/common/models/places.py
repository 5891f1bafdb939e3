"""Finds modules of a model by type and place, so that a parameter set needs no names of an architecture.

A model may say where its towers are: `image_roots` and `text_roots`, tuples of module names. By default `visual` is
the image encoder, and everything else but the logit scale the text encoder, as in OpenAI's CLIP. `unused` has the names
of parts within the towers that features do not depend on, such as "crossattention": no set has their parameters.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from .insertions import PARALLEL

IMAGE_ROOTS = ("visual",)
ENCODERS = {"image": ("image",), "text": ("text",), "both": ("image", "text")}  # values of the methods' key ENCODERS
# Matrices that end an image encoder: (D, dim) that features are multiplied with, or the (dim, D) of a linear layer
IMAGE_PROJECTIONS = ("visual.proj",)
IMAGE_PROJECTION_LAYERS = (
    "visual.head.proj", "visual.trunk.head", "visual.trunk.head.fc", "visual_projection", "vision_proj",
    "visual.attnpool.c_proj",
)  # fmt: skip
HEAD = ("logit_scale", "logit_bias")  # of both encoders


class Unsupported(ValueError):
    """A backbone does not have what a method changes or reads with these settings."""


def encoders(value: str, key: str) -> tuple[str, ...]:
    """Returns the encoders that a value of the methods' key ENCODERS names. Raises ValueError for another value."""
    if value not in ENCODERS:
        raise ValueError(f"{key} must be one of {tuple(ENCODERS)}, got {value!r}")
    return ENCODERS[value]


def within(name: str, roots: tuple[str, ...]) -> bool:
    """Whether a module or parameter is one of `roots`, or is in one of them."""
    return any(name == root or name.startswith(f"{root}.") for root in roots)


def is_image(model: nn.Module, name: str) -> bool:
    """Whether a module or parameter belongs to the image encoder."""
    return within(name, getattr(model, "image_roots", IMAGE_ROOTS))


def is_text(model: nn.Module, name: str) -> bool:
    """Whether a module or parameter belongs to the text encoder."""
    roots = getattr(model, "text_roots", None)
    if roots is None:
        return not is_image(model, name) and name not in HEAD
    return within(name, roots)


def is_used(model: nn.Module, name: str) -> bool:
    """Whether features depend on a module or parameter of a tower."""
    return not set(getattr(model, "unused", ())) & set(name.split("."))


def modules(model: nn.Module, image: bool) -> list[tuple[str, nn.Module]]:
    """Returns the modules of one encoder with their names, in the order of their registration."""
    belongs = is_image if image else is_text
    named = [(name, module) for name, module in model.named_modules() if name and belongs(model, name)]
    return [(name, module) for name, module in named if is_used(model, name)]


def blocks(model: nn.Module, image: bool) -> list[tuple[str, nn.Module]]:
    """Returns the transformer blocks of one encoder with their names: the largest list of equal modules with attention.

    Empty for a convolutional network.
    """
    lists = [
        (sum(p.numel() for p in module.parameters()), name, module)
        for name, module in modules(model, image)
        if isinstance(module, (nn.ModuleList, nn.Sequential)) and _is_list_of_blocks(module)
    ]
    if not lists:
        return []
    _, name, found = max(lists, key=lambda entry: entry[0])
    return [(f"{name}.{i}", block) for i, block in found.named_children()]


def parameters(model: nn.Module, image: bool) -> list[list[str]]:
    """Returns the names of the parameters of one encoder, a list for each module that has some, as registered.

    A parameter that several modules share is listed once.
    """
    belongs = is_image if image else is_text
    found = []
    listed = set()
    for module_name, module in [("", model), *modules(model, image)]:
        names = []
        for leaf, parameter in module.named_parameters(recurse=False):
            name = f"{module_name}.{leaf}" if module_name else leaf
            if belongs(model, name) and id(parameter) not in listed:
                listed.add(id(parameter))
                names.append(name)
        if names:
            found.append(names)
    return found


def norm_before_blocks(model: nn.Module) -> nn.Module | None:
    """Returns the LayerNorm of the image encoder between the embeddings and the first block; None if there is none.

    It is registered before the blocks, in a module around them: "visual.ln_pre" for "visual.transformer.resblocks".
    """
    found = blocks(model, image=True)
    inner = found[0][0].rpartition(".")[0] if found else ""  # the list of blocks, then the modules around it
    while "." in inner:
        outer, _, child = inner.rpartition(".")
        names, children = zip(*model.get_submodule(outer).named_children())
        norms_before = [module for module in children[: names.index(child)] if _is_layernorm(module)]
        if norms_before:
            return norms_before[-1]
        inner = outer
    return None


def first_norm(block: nn.Module) -> nn.Module | None:
    """Returns the first of a block's own LayerNorms; None if all are in its parts, as in BERT."""
    return next((module for module in block.children() if _is_layernorm(module)), None)


def width(block: nn.Module) -> int:
    """Returns the length of a token in a block: that of its own LayerNorms."""
    return first_norm(block).weight.numel()


def _is_list_of_blocks(module: nn.Module) -> bool:
    children = list(module.children())
    same = len({type(child) for child in children}) == 1
    return same and any(_is_attention(name) for name, _ in children[0].named_modules())


def _is_attention(name: str) -> bool:
    return any("attn" in part or "attention" in part for part in name.split("."))


def in_attention(block: nn.Module, name: str) -> bool:
    """Whether a module of a block is part of attention, by its name or by the type of a module that contains it."""
    parts = name.split(".")
    owners = [block.get_submodule(".".join(parts[:i])) for i in range(1, len(parts))]
    return _is_attention(name) or any("Attention" in type(owner).__name__ for owner in owners)


def ffn_linears(block: nn.Module) -> list[str]:
    """Returns the names of a block's linear layers with a bias that are not part of attention, in forward order."""
    return [
        name
        for name, module in block.named_modules()
        if isinstance(module, nn.Linear) and module.bias is not None and not _is_attention(name)
    ]


def insertion_points(model: nn.Module, image: bool) -> list[dict[str, tuple[str, int]]]:
    """Returns where something can be inserted into each block of one encoder: place -> (name of a module, width).

    The module is the last linear layer of the attention ("after_attention") or of the FFN ("after_ffn"), or the block
    ("parallel_to_block"), and the width that of its output. Empty if the blocks have other layers there, such as
    convolutions.
    """
    points = []
    for block_name, block in blocks(model, image):
        found = {}
        for name, module in block.named_modules():
            if isinstance(module, nn.Linear) and is_used(model, f"{block_name}.{name}"):
                place = "after_attention" if in_attention(block, name) else "after_ffn"
                owner = name.rpartition(".")[0]
                if isinstance(block.get_submodule(owner), nn.MultiheadAttention):
                    name = owner  # which does not call its output projection
                found[place] = (f"{block_name}.{name}", module.out_features)
        if len(found) < 2:
            return []
        points.append({**found, PARALLEL: (block_name, found["after_ffn"][1])})
    return points


def norms(model: nn.Module, image: bool, batch: bool = False) -> list[str]:
    """Returns the names of the LayerNorms, or of the BatchNorms, of one encoder that have a weight and a bias."""
    return [
        name
        for name, module in modules(model, image)
        if (isinstance(module, nn.modules.batchnorm._BatchNorm) if batch else _is_layernorm(module))
        and getattr(module, "weight", None) is not None
        and getattr(module, "bias", None) is not None
    ]


def _is_layernorm(module: nn.Module) -> bool:
    return isinstance(module, nn.LayerNorm) or "LayerNorm" in type(module).__name__


def is_block_norm(name: str) -> bool:
    """Whether a LayerNorm is a block's own: "visual.trunk.blocks.0.norm1", not "visual.trunk.blocks.0.attn.norm"."""
    parts = name.split(".")
    return len(parts) > 1 and parts[-2].isdecimal()


def projection(model: nn.Module) -> dict[str, nn.Parameter]:
    """Returns the parameters of the linear projection that ends the image encoder: a matrix, and its bias, if any.

    Empty if the encoder does not end with one.
    """
    parameters = dict(model.named_parameters())
    for name in IMAGE_PROJECTIONS:
        if name in parameters:
            return {name: parameters[name]}
    for name in IMAGE_PROJECTION_LAYERS:
        weight, bias = f"{name}.weight", f"{name}.bias"
        if weight in parameters and parameters[weight].dim() == 2:
            return {name: parameters[name] for name in (weight, bias) if name in parameters}
    return {}


def identity_projection(model: nn.Module) -> dict[str, torch.Tensor]:
    """Returns name -> tensor for the projection that ends the image encoder, such that it does nothing.

    Empty if the encoder has none that is linear.
    """
    tensors = {}
    for name, parameter in projection(model).items():
        width = parameter.shape[0 if name in IMAGE_PROJECTIONS else -1]  # of the features before the projection
        if parameter.dim() == 2:
            tensors[name] = torch.eye(width).to(parameter)
        else:
            tensors[name] = parameter.new_zeros(len(next(iter(tensors.values()))))
    return tensors


def project(features: torch.Tensor, tensors: dict[str, torch.Tensor]) -> torch.Tensor:
    """Returns features (B, D) after the projection `tensors`, named as in `projection`: (B, dim)."""
    (name, matrix), *bias = tensors.items()
    if name in IMAGE_PROJECTIONS:
        return features @ matrix
    return F.linear(features, matrix, bias[0][1] if bias else None)

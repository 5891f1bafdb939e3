"""Parameter sets: groups of CLIP's parameters that can be tuned, selected by module type and place."""

from __future__ import annotations

import os.path
import re

import torch
from torch import nn

from . import places

PARAMETER_SETS = {}
# Modules that hold the layers of an encoder, which the short name of a layer leaves out
CONTAINERS = {
    "visual", "transformer", "resblocks", "text", "trunk", "blocks", "vision_model", "text_model", "encoder", "layers",
    "layer",
}  # fmt: skip


# Names of the projection that ends an encoder
PROJECTIONS = {"proj", "projection", "head", "text_projection", "visual_projection", "text_proj", "vision_proj"}


def parameter_set(function):
    """Registers a function (CLIP model -> groups of parameter names, in forward order) under its own name."""
    PARAMETER_SETS[function.__name__] = function
    return function


def _block_biases(model: nn.Module, image: bool) -> list[list[str]]:
    """All biases of each transformer block, including those of LayerNorms and attention (as in BitFit)."""
    groups = []
    for block_name, block in places.blocks(model, image):
        names = [f"{block_name}.{name}" for name, _ in block.named_parameters() if "bias" in name.rpartition(".")[2]]
        groups.append([name for name in names if places.is_used(model, name)])
    return groups


def _modules(groups: list[list[str]]) -> list[list[str]]:
    """Returns the groups with a group per parameter for modules without a path, such as the encoder itself."""
    split = []
    for names in groups:
        split += [names] if _path(names) else [[name] for name in names]
    return split


def _biases(model: nn.Module, image: bool) -> list[list[str]]:
    """All biases of one encoder, by module."""
    groups = [[n for n in names if "bias" in n.rpartition(".")[2]] for names in places.parameters(model, image)]
    return _modules([names for names in groups if names])


def _norms(names: list[str]) -> list[list[str]]:
    return [[f"{name}.weight", f"{name}.bias"] for name in names]


@parameter_set
def text_ffn_output_bias(model):
    """FFN output bias of each text block: CLIPFit's choice, Table 5 (d) of the paper."""
    return [names[-1:] for names in text_ffn_bias(model) if names]


@parameter_set
def text_ffn_bias(model):
    """FFN biases of each text block: Table 5 (c) of the paper."""
    groups = []
    for block_name, block in places.blocks(model, image=False):
        names = [f"{block_name}.{linear}.bias" for linear in places.ffn_linears(block)]
        groups.append([name for name in names if places.is_used(model, name)])
    return groups


@parameter_set
def text_block_bias(model):
    """All biases of the text blocks: Table 5 (b) of the paper."""
    return _block_biases(model, image=False)


@parameter_set
def image_block_bias(model):
    """All biases of the image blocks; together with text_block_bias: Table 5 (a) of the paper. Empty for a ResNet."""
    return _block_biases(model, image=True)


@parameter_set
def image_layernorm(model):
    """Weight and bias of each LayerNorm of the image encoder: CLIPFit's choice. Empty for a ResNet."""
    return _norms(places.norms(model, image=True))


@parameter_set
def image_block_layernorm(model):
    """Weight and bias of the LayerNorms that image blocks have themselves, without those within attention or FFN."""
    return _norms([name for name in places.norms(model, image=True) if places.is_block_norm(name)])


@parameter_set
def image_batchnorm(model):
    """Weight and bias of each BatchNorm of the image encoder. Running statistics stay frozen."""
    return _norms(places.norms(model, image=True, batch=True))


@parameter_set
def text_layernorm(model):
    """Weight and bias of each LayerNorm of the text encoder, including the final one."""
    return _norms(places.norms(model, image=False))


@parameter_set
def text_block_layernorm(model):
    """Weight and bias of the LayerNorms that text blocks have themselves."""
    return _norms([name for name in places.norms(model, image=False) if places.is_block_norm(name)])


@parameter_set
def image_bias(model):
    """All biases of the image encoder, as in BitFit: with those outside the blocks, and of convolutions and norms."""
    return _biases(model, image=True)


@parameter_set
def text_bias(model):
    """All biases of the text encoder, including that of the final LayerNorm."""
    return _biases(model, image=False)


@parameter_set
def image_encoder(model):
    """All parameters of the image encoder. Running statistics of BatchNorms are none, and stay frozen."""
    return _modules(places.parameters(model, image=True))


@parameter_set
def text_encoder(model):
    """All parameters of the text encoder, including the embeddings of tokens and positions, and the projection."""
    return _modules(places.parameters(model, image=False))


def _blocks(model: nn.Module, image: bool) -> list[list[str]]:
    names = [name for module in places.parameters(model, image) for name in module]
    return [[n for n in names if n.startswith(f"{block}.")] for block, _ in places.blocks(model, image)]


@parameter_set
def image_block(model):
    """All parameters of each transformer block of the image encoder. Empty for a ResNet."""
    return _blocks(model, image=True)


@parameter_set
def text_block(model):
    """All parameters of each transformer block of the text encoder."""
    return _blocks(model, image=False)


def _output(model: nn.Module, image: bool) -> list[list[str]]:
    """The last LayerNorm, if it is not a block's, and the projection that ends an encoder."""
    norms = [name for name in places.norms(model, image) if places.blocks(model, image)]
    blocks = tuple(f"{block}." for block, _ in places.blocks(model, image))
    groups = _norms([name for name in norms[-1:] if not name.startswith(blocks)])
    for names in places.parameters(model, image):
        groups += [[name] for name in names if not name.startswith(blocks) and PROJECTIONS & set(name.split(".")[-2:])]
    return [names for names in groups if not any("embed" in name for name in names)]


@parameter_set
def image_output(model):
    """What follows the blocks of the image encoder: the last LayerNorm and the projection. Empty for a ResNet."""
    return _output(model, image=True) if places.blocks(model, image=True) else []


@parameter_set
def text_output(model):
    """What follows the blocks of the text encoder: the last LayerNorm and the projection."""
    return _output(model, image=False)


@parameter_set
def image_projection(model):
    """The matrix of the linear projection that ends the image encoder, without its bias: ProLIP's choice."""
    return [[name] for name, parameter in places.projection(model).items() if parameter.dim() == 2]


@parameter_set
def logit_scale(model):
    """The logarithm of the factor of the cosine similarities. Empty if the model does not learn it, as BLIP."""
    return [["logit_scale"]] if isinstance(getattr(model, "logit_scale", None), nn.Parameter) else []


def layer_name(names: list[str]) -> str:
    """Returns the short name of a layer, given its parameters: the path that they share, without the encoder's.

    A parameter of the encoder itself has its own name.
    Example: ["visual.transformer.resblocks.0.ln_1.weight", "visual.transformer.resblocks.0.ln_1.bias"] -> "0.ln_1".
    """
    return _path(names) or names[0].rpartition(".")[2]


def _path(names: list[str]) -> str:
    path = os.path.commonprefix([name.split(".")[:-1] for name in names])
    while path and path[0] in CONTAINERS:
        path = path[1:]
    return ".".join(path)


def select(clip_model: nn.Module, sets: tuple[str, ...], key: str) -> dict[str, list[str]]:
    """Returns the names of the parameters in the parameter sets.

    Args:
        sets: names from PARAMETER_SETS, each with optional layers: numbers from 0 in forward order, ranges, names
            (`layer_name`), or the first or last k layers. "image_layernorm:ln_pre,0.ln_1" is the same as
            "image_layernorm:0,1", "image_layernorm:0-1" and "image_layernorm:first2".
        key: config key of `sets`, for error messages.

    Returns:
        entry of `sets` -> parameter names. A parameter in several sets is listed under the first only.

    Raises:
        ValueError: unknown set. Unsupported: layer out of range, or a set that is empty for this backbone.
    """
    selected = {}
    listed = set()
    for entry in sets:
        name, _, layers = entry.partition(":")
        if name not in PARAMETER_SETS:
            raise ValueError(f"{key} must name parameter sets of {', '.join(sorted(PARAMETER_SETS))}, got {name!r}")
        groups = PARAMETER_SETS[name](clip_model)
        if not groups:
            raise places.Unsupported(_empty_message(clip_model, name, sets, key))
        if layers:
            groups = [groups[i] for i in parse_layers(layers, groups, entry, key)]
        selected[entry] = [n for group in groups for n in group if n not in listed]
        listed.update(selected[entry])
    return selected


def _empty_message(model: nn.Module, name: str, sets: tuple[str, ...], key: str) -> str:
    others = tuple(s for s in sets if PARAMETER_SETS[s.partition(":")[0]](model))
    remedy = f'remove it: {key} "{others}"' if others else "choose another set"
    if name in ("image_layernorm", "image_block_layernorm") and image_batchnorm(model):
        remedy += f' or tune BatchNorms instead: {key} "{(*others, "image_batchnorm")}"'
    encoder, _, layers = name.partition("_")
    missing = f"its {encoder} encoder has no {layers.replace('_', ' ')}"
    if name == "logit_scale":
        missing = "it does not learn its logit scale"
    return f"{key}: the set {name!r} is empty for this backbone: {missing}; {remedy}"


def parse_layers(text: str, groups: list[list[str]], entry: str, key: str) -> list[int]:
    """Returns the layers of an entry of a TUNE key: "0-2,5" -> [0, 1, 2, 5], "last2" of 12 layers -> [10, 11].

    Args:
        groups: parameter names of each layer of the set.
        entry: the whole entry, for error messages, as is `key`.

    Raises:
        ValueError: a layer is unknown. Unsupported: it is out of range.
    """
    names = [layer_name(group) for group in groups]
    layers = []
    for part in text.split(","):
        first_or_last = re.fullmatch(r"(first|last)(\d+)", part)
        numbers = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if part in names:
            layers.append(names.index(part))
        elif first_or_last:
            count = int(first_or_last[2])
            start = len(groups) - count if first_or_last[1] == "last" else 0
            layers += range(start, start + count)
        elif numbers:
            layers += range(int(numbers[1]), int(numbers[2] or numbers[1]) + 1)
        else:
            raise ValueError(
                f"{key}: layers must be numbers or ranges such as 0-2,5, first3, last3, or names such as {names[0]}, "
                f"got {entry!r}"
            )
    if not layers or min(layers) < 0 or max(layers) >= len(groups):
        raise places.Unsupported(f"{key}: layers of this set must be 0 to {len(groups) - 1}, got {entry!r}")
    return list(dict.fromkeys(layers))


def parse_blocks(text: str, n: int, key: str) -> list[int]:
    """Returns the numbers of the blocks that the value of a key names, of n; "all" names all."""
    return list(range(n)) if text == "all" else parse_layers(text, [[f"{i}."] for i in range(n)], text, key)


def add_parameters(module: nn.Module, clip_model: nn.Module, names: list[str]) -> None:
    """Adds fp32 copies of CLIP's parameters to `module`, under CLIP's own dotted names.

    The optimiser updates these masters: updates of an fp16 bias would round to zero at small learning rates.
    """
    for name in names:
        path, _, leaf = name.rpartition(".")
        master = clip_model.get_parameter(name).detach().to(torch.float32, copy=True)
        submodule(module, path).register_parameter(leaf, nn.Parameter(master))


def submodule(module: nn.Module, path: str) -> nn.Module:
    """Returns the submodule with a dotted name; adds the empty modules that are missing on the way to it."""
    for part in path.split(".") if path else ():
        if part not in module._modules:
            module.add_module(part, nn.Module())
        module = module._modules[part]
    return module


def cast_like(module: nn.Module, clip_model: nn.Module, names: list[str]) -> dict[str, torch.Tensor]:
    """Returns the masters, cast to the dtype of the CLIP parameters they replace: name -> tensor. Differentiable."""
    return {name: module.get_parameter(name).to(clip_model.get_parameter(name).dtype) for name in names}


def audit(tuned: nn.Module, sets: dict[str, list[str]], total: int) -> str:
    """Returns a table of the tuned parameters: set, tensors, scalars, dtype, and their share of CLIP's `total`."""
    in_sets = {name for names in sets.values() for name in names}
    rows = list(sets.items())
    added = [name for name, p in tuned.named_parameters() if p.requires_grad and name not in in_sets]
    if added:
        rows.append(("added by the method", added))
    lines = [f"{'Tuned parameters':<32}{'tensors':>8}{'scalars':>12}  type"]
    scalars = 0
    for entry, names in rows:
        parameters = [tuned.get_parameter(name) for name in names]
        count = sum(p.numel() for p in parameters)
        types = ", ".join(sorted({str(p.dtype).split(".")[1] for p in parameters}))
        lines.append(f"{entry:<32}{len(parameters):>8,}{count:>12,}  {types}")
        scalars += count
    tensors = sum(len(names) for _, names in rows)
    lines.append(f"{'total':<32}{tensors:>8,}{scalars:>12,}  {100 * scalars / total:.4f} % of CLIP's {total:,}")
    return "\n".join(lines)

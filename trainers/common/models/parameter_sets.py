"""Parameter sets: groups of CLIP's parameters that can be tuned, selected by module type and layer."""

from __future__ import annotations

import os.path
import re

import torch
from torch import nn

PARAMETER_SETS = {}


def parameter_set(function):
    """Registers a function (CLIP model -> groups of parameter names, in forward order) under its own name."""
    PARAMETER_SETS[function.__name__] = function
    return function


def _block_biases(transformer: nn.Module, prefix: str) -> list[list[str]]:
    """All biases of each residual block, including those of LayerNorms and attention (as in BitFit)."""
    groups = []
    for i, block in enumerate(transformer.resblocks):
        names = [name for name, _ in block.named_parameters() if "bias" in name.rpartition(".")[2]]
        groups.append([f"{prefix}.{i}.{name}" for name in names])
    return groups


def _is_vit(clip_model: nn.Module) -> bool:
    return hasattr(clip_model.visual, "transformer")


@parameter_set
def text_ffn_output_bias(clip_model):
    """FFN output bias of each text block: CLIPFit's choice, Table 5 (d) of the paper."""
    return [[f"transformer.resblocks.{i}.mlp.c_proj.bias"] for i in range(len(clip_model.transformer.resblocks))]


@parameter_set
def text_ffn_bias(clip_model):
    """Both FFN biases of each text block: Table 5 (c) of the paper."""
    blocks = range(len(clip_model.transformer.resblocks))
    return [[f"transformer.resblocks.{i}.mlp.{layer}.bias" for layer in ("c_fc", "c_proj")] for i in blocks]


@parameter_set
def text_block_bias(clip_model):
    """All biases of the text blocks: Table 5 (b) of the paper."""
    return _block_biases(clip_model.transformer, "transformer.resblocks")


@parameter_set
def image_block_bias(clip_model):
    """All biases of the image blocks; together with text_block_bias: Table 5 (a) of the paper."""
    if not _is_vit(clip_model):
        return []
    return _block_biases(clip_model.visual.transformer, "visual.transformer.resblocks")


@parameter_set
def image_layernorm(clip_model):
    """Weight and bias of each LayerNorm of the image encoder: CLIPFit's choice. Empty for a ResNet."""
    return _norms(clip_model.visual, nn.LayerNorm, "visual.")


@parameter_set
def image_batchnorm(clip_model):
    """Weight and bias of each BatchNorm of a ResNet image encoder. Running statistics stay frozen."""
    return _norms(clip_model.visual, nn.BatchNorm2d, "visual.")


@parameter_set
def text_layernorm(clip_model):
    """Weight and bias of each LayerNorm of the text encoder, including `ln_final`."""
    blocks = _norms(clip_model.transformer, nn.LayerNorm, "transformer.")
    return [*blocks, ["ln_final.weight", "ln_final.bias"]]


def _norms(module: nn.Module, norm_type: type, prefix: str) -> list[list[str]]:
    names = [name for name, m in module.named_modules() if isinstance(m, norm_type)]
    return [[f"{prefix}{name}.weight", f"{prefix}{name}.bias"] for name in names]


def layer_name(names: list[str]) -> str:
    """Returns the short name of a layer, given its parameters: the path that they share, without the encoder's.

    Example: ["visual.transformer.resblocks.0.ln_1.weight", "visual.transformer.resblocks.0.ln_1.bias"] -> "0.ln_1".
    """
    path = os.path.commonprefix([name.split(".")[:-1] for name in names])
    for encoder in ("visual", "transformer", "resblocks"):
        if path[:1] == [encoder]:
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
        ValueError: unknown set, layer out of range, or a set that is empty for this backbone.
    """
    selected = {}
    listed = set()
    for entry in sets:
        name, _, layers = entry.partition(":")
        if name not in PARAMETER_SETS:
            raise ValueError(f"{key} must name parameter sets of {', '.join(sorted(PARAMETER_SETS))}, got {name!r}")
        groups = PARAMETER_SETS[name](clip_model)
        if not groups:
            raise ValueError(_empty_message(clip_model, name, sets, key))
        if layers:
            groups = [groups[i] for i in parse_layers(layers, groups, entry, key)]
        selected[entry] = [n for group in groups for n in group if n not in listed]
        listed.update(selected[entry])
    return selected


def _empty_message(clip_model: nn.Module, name: str, sets: tuple[str, ...], key: str) -> str:
    others = tuple(s for s in sets if PARAMETER_SETS[s.partition(":")[0]](clip_model))
    remedy = f'remove it: {key} "{others}"' if others else "choose another set"
    if name == "image_layernorm":
        remedy += f' or tune BatchNorms instead: {key} "{(*others, "image_batchnorm")}"'
    architecture = "ViT" if _is_vit(clip_model) else "ResNet"
    return f"{key}: the set {name!r} is empty for this backbone, whose image encoder is a {architecture}; {remedy}"


def parse_layers(text: str, groups: list[list[str]], entry: str, key: str) -> list[int]:
    """Returns the layers of an entry of a TUNE key: "0-2,5" -> [0, 1, 2, 5], "last2" of 12 layers -> [10, 11].

    Args:
        groups: parameter names of each layer of the set.
        entry: the whole entry, for error messages, as is `key`.

    Raises:
        ValueError: a layer is unknown, or out of range.
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
        raise ValueError(f"{key}: layers of this set must be 0 to {len(groups) - 1}, got {entry!r}")
    return list(dict.fromkeys(layers))


def add_parameters(module: nn.Module, clip_model: nn.Module, names: list[str]) -> None:
    """Adds fp32 copies of CLIP's parameters to `module`, under CLIP's own dotted names.

    The optimiser updates these masters: updates of an fp16 bias would round to zero at small learning rates.
    """
    for name in names:
        owner = module
        *path, leaf = name.split(".")
        for part in path:
            if part not in owner._modules:
                owner.add_module(part, nn.Module())
            owner = owner._modules[part]
        owner.register_parameter(leaf, nn.Parameter(clip_model.get_parameter(name).detach().float().clone()))


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

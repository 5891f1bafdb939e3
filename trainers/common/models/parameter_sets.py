"""Sets of CLIP's own parameters that can be tuned, chosen by module type and place."""

from __future__ import annotations

import torch
from torch import nn

PARAMETER_SETS = {}


def parameter_set(function):
    """Register a function (clip model -> groups of parameter names, in forward order) under its own name."""
    PARAMETER_SETS[function.__name__] = function
    return function


def _block_biases(transformer: nn.Module, prefix: str) -> list[list[str]]:
    """The biases of each residual block, LayerNorms and attention included (BitFit's convention)."""
    return [
        [f"{prefix}.{i}.{name}" for name, _ in block.named_parameters() if "bias" in name.rpartition(".")[2]]
        for i, block in enumerate(transformer.resblocks)
    ]


def _is_vit(clip_model: nn.Module) -> bool:
    return hasattr(clip_model.visual, "transformer")


@parameter_set
def text_ffn_output_bias(clip_model):
    """Bias of the second FFN layer of each text block: CLIPFit's; paper Table 5 (d)."""
    return [[f"transformer.resblocks.{i}.mlp.c_proj.bias"] for i in range(len(clip_model.transformer.resblocks))]


@parameter_set
def text_ffn_bias(clip_model):
    """Both FFN biases of each text block: paper Table 5 (c)."""
    blocks = range(len(clip_model.transformer.resblocks))
    return [[f"transformer.resblocks.{i}.mlp.{layer}.bias" for layer in ("c_fc", "c_proj")] for i in blocks]


@parameter_set
def text_block_bias(clip_model):
    """All biases inside the text blocks: paper Table 5 (b)."""
    return _block_biases(clip_model.transformer, "transformer.resblocks")


@parameter_set
def image_block_bias(clip_model):
    """All biases inside the image blocks; with text_block_bias: paper Table 5 (a)."""
    if not _is_vit(clip_model):
        return []
    return _block_biases(clip_model.visual.transformer, "visual.transformer.resblocks")


@parameter_set
def image_layernorm(clip_model):
    """Gain and bias of each LayerNorm of the image encoder: CLIPFit's; empty on a ResNet."""
    return _norms(clip_model.visual, nn.LayerNorm, "visual.")


@parameter_set
def image_batchnorm(clip_model):
    """Gain and bias of each BatchNorm of a ResNet image encoder (running statistics stay frozen)."""
    return _norms(clip_model.visual, nn.BatchNorm2d, "visual.")


@parameter_set
def text_layernorm(clip_model):
    """Gain and bias of each LayerNorm of the text encoder, `ln_final` included."""
    blocks = _norms(clip_model.transformer, nn.LayerNorm, "transformer.")
    return [*blocks, ["ln_final.weight", "ln_final.bias"]]


def _norms(module: nn.Module, kind: type, prefix: str) -> list[list[str]]:
    names = [name for name, m in module.named_modules() if isinstance(m, kind)]
    return [[f"{prefix}{name}.weight", f"{prefix}{name}.bias"] for name in names]


def select(clip_model: nn.Module, sets: tuple[str, ...], key: str) -> dict[str, list[str]]:
    """Names of the parameters in the sets.

    Args:
        sets: names from PARAMETER_SETS, each optionally with the places to take, counted from 0 in forward order:
            "image_layernorm:0" is the first LayerNorm, "text_ffn_output_bias:0-2,11" are four blocks.
        key: config key the sets come from, for messages.

    Returns:
        set as written -> parameter names. A parameter that several sets name counts in the first.

    Raises:
        ValueError: unknown set, place out of range, or a set that is empty on this backbone.
    """
    chosen, seen = {}, set()
    for entry in sets:
        name, _, places = entry.partition(":")
        if name not in PARAMETER_SETS:
            raise ValueError(f"{key}: unknown parameter set {name!r}; there are {', '.join(sorted(PARAMETER_SETS))}")
        groups = PARAMETER_SETS[name](clip_model)
        if not groups:
            raise ValueError(_empty_message(clip_model, name, sets, key))
        if places:
            groups = [groups[i] for i in _places(places, len(groups), entry, key)]
        chosen[entry] = [n for group in groups for n in group if n not in seen]
        seen.update(chosen[entry])
    return chosen


def _empty_message(clip_model: nn.Module, name: str, sets: tuple[str, ...], key: str) -> str:
    others = tuple(s for s in sets if PARAMETER_SETS[s.partition(":")[0]](clip_model))
    remedy = f'leave it out: {key} "{others}"' if others else "choose another set"
    if name == "image_layernorm":
        remedy += f' or tune BatchNorms instead: {key} "{(*others, "image_batchnorm")}"'
    kind = "ViT" if _is_vit(clip_model) else "ResNet"
    return f"{key}: the set {name!r} is empty, this backbone's image encoder is a {kind}; {remedy}"


def _places(text: str, count: int, entry: str, key: str) -> list[int]:
    """ "0-2,5" -> [0, 1, 2, 5]"""
    chosen = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or (last and not last.isdigit()):
            raise ValueError(f"{key}: places are numbers or ranges such as 0-2,5; got {entry!r}")
        chosen += range(int(first), int(last or first) + 1)
    if not chosen or max(chosen) >= count:
        raise ValueError(f"{key}: {entry!r} is out of range, the set has places 0 to {count - 1}")
    return chosen


def add_parameters(module: nn.Module, clip_model: nn.Module, names: list[str]) -> None:
    """Give `module` fp32 copies of CLIP's parameters, under CLIP's own dotted names.

    They are the masters that the optimiser moves: in fp16 a projection bias does not move at small learning rates.
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
    """The masters in the type of the parameters they stand for, differentiably: name -> tensor."""
    return {name: module.get_parameter(name).to(clip_model.get_parameter(name).dtype) for name in names}


def audit(tuned: nn.Module, sets: dict[str, list[str]], total: int) -> str:
    """A table of what is tuned: set, tensors, scalars, type; and the share of `total` CLIP scalars."""
    in_sets = {name for names in sets.values() for name in names}
    rows = list(sets.items())
    own = [name for name, p in tuned.named_parameters() if p.requires_grad and name not in in_sets]
    if own:
        rows.append(("the method's own", own))
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

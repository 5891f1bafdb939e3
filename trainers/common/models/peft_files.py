"""LoRA in the layout of the package peft: a folder with adapter_config.json and adapter_model.safetensors.

It belongs to a model of transformers. OpenAI's models have other names than the same models there: `CLIPModel`. The
package peft is not needed.
"""

from __future__ import annotations

import json
import math
import os

import torch

from ..finite import require_finite
from .transformers_names import to_transformers
from .weight_changes import LowRank, WeightChanges

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
PREFIX = "base_model.model."
UNSUPPORTED = ("use_dora", "fan_in_fan_out", "rank_pattern", "alpha_pattern", "modules_to_save")  # if true or not empty


def is_adapter(path: str) -> bool:
    """Whether a path is a folder in peft's layout."""
    return os.path.isfile(os.path.join(path, CONFIG))


def low_rank_parts(changes: WeightChanges, is_transformers: bool) -> dict[str, tuple[str, LowRank]]:
    """Returns name of a linear layer in the model of transformers -> its name in `changes`, and its low-rank change.

    Raises:
        ValueError: a change is no low-rank one, or a layer has several, as a layer with q, k and v.
    """
    found = {}
    for name, at in changes.rows.items():
        if is_transformers and len(at) > 1:
            raise ValueError(f"{name} has several changes ({', '.join(at)}), and a layer of peft has one")
        for matrix, (_, module) in zip(at, changes.parts(name)):
            if not isinstance(module, LowRank):
                raise ValueError(f"the change of {name} has no low rank")
            layer = name.rpartition(".")[0] if is_transformers else layer_name(name, matrix)
            found[layer] = (f"{name}.{matrix}", module)
    return found


def layer_name(parameter: str, matrix: str) -> str:
    """Returns the layer of `CLIPModel` that has a matrix of OpenAI's model."""
    names = list(to_transformers({parameter: torch.empty(3, 1)}))
    name = names["qkv".index(matrix)] if len(names) == 3 else names[0]
    return name.rpartition(".")[0]


def write(changes: WeightChanges, is_transformers: bool, base: str, folder: str) -> None:
    """Writes the low-rank changes of a model to a folder. Raises as `low_rank_parts`.

    `base` is the name of the model, by which peft finds it.
    """
    from safetensors.torch import save_file

    parts = low_rank_parts(changes, is_transformers)
    module = next(module for _, module in parts.values())
    rank = len(module.A)
    config = {
        "peft_type": "LORA",
        "task_type": None,
        "base_model_name_or_path": base,
        "inference_mode": True,
        "r": rank,
        "lora_alpha": _plain(module.scale * math.sqrt(rank)),
        "use_rslora": True,  # the scale is lora_alpha / sqrt(r)
        "lora_dropout": module.dropout,
        "bias": "none",
        "target_modules": sorted(parts),
    }
    tensors = {}
    for layer, (_, module) in parts.items():
        tensors[f"{PREFIX}{layer}.lora_A.weight"] = module.A.detach().cpu().contiguous()
        tensors[f"{PREFIX}{layer}.lora_B.weight"] = module.B.detach().cpu().contiguous()
    save_file(tensors, os.path.join(folder, WEIGHTS), {"format": "pt"})
    with open(os.path.join(folder, CONFIG), "w", encoding="utf-8") as file:
        json.dump(config, file, indent=1)


def _plain(value: float) -> float:
    """Rounds what a root and its square have left: 1.0000000000000002 -> 1.0."""
    return round(value, 9)


def read(changes: WeightChanges, is_transformers: bool, folder: str) -> dict[str, torch.Tensor]:
    """Returns the tensors of the tuned module, by name, from a folder. B has the factor between both scales.

    Raises:
        ValueError: the folder is corrupted, is no LoRA, or has other layers or another rank than `changes`.
    """
    tensors, scale = read_files(folder)
    found = {}
    missing = []
    for layer, (name, module) in low_rank_parts(changes, is_transformers).items():
        for key, own in (("lora_A", module.A), ("lora_B", module.B)):
            tensor = tensors.pop(f"{PREFIX}{layer}.{key}.weight", None)
            if tensor is None:
                missing.append(layer)
            elif tensor.shape != own.shape:
                raise ValueError(
                    f"{folder}: {layer}.{key} has the shape {tuple(tensor.shape)}, this run's {tuple(own.shape)}: "
                    "set the method's RANK as in the folder"
                )
            else:
                factor = scale / module.scale if key == "lora_B" else 1
                found[f"changes.{name}.{key[-1]}"] = factor * tensor.float()
    if missing or tensors:
        differ = f"it has no {missing[0]}" if missing else f"only it has {next(iter(tensors))}"
        raise ValueError(
            f"{folder} has other layers than this run ({differ}): set the method's MATRICES, BLOCKS and ENCODERS as "
            "in the folder"
        )
    require_finite(found, folder, saving=False)
    return found


def read_files(folder: str) -> tuple[dict[str, torch.Tensor], float]:
    """Returns the tensors and the scale of a folder. Raises ValueError if it is corrupted, or is no plain LoRA."""
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise ValueError(f"reading {folder} needs the package safetensors: pip install safetensors") from None
    try:
        with open(os.path.join(folder, CONFIG), encoding="utf-8") as file:
            config = json.load(file)
        tensors = load_file(os.path.join(folder, WEIGHTS))
        rank, alpha = config["r"], float(config["lora_alpha"])
        kind, more = config["peft_type"], [key for key in UNSUPPORTED if config.get(key)]
        scale = alpha / (math.sqrt(rank) if config.get("use_rslora") else rank)
    except Exception as error:  # a corrupted file can raise anything
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise ValueError(f"cannot read the adapter of peft in {folder}: corrupted, or incomplete ({reason})") from error
    if kind != "LORA" or more:
        raise ValueError(f"{folder} is no plain LoRA: {', '.join(more) or f'peft_type {kind!r}'} is not supported")
    for name, tensor in tensors.items():
        if ".lora_A." in name and len(tensor) != rank:  # the scale would be that of another rank
            raise ValueError(f"{folder}: {CONFIG} has r {rank}, but {name} has the shape {tuple(tensor.shape)}")
    return tensors, scale

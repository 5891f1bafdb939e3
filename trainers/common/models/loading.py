"""Loads a frozen CLIP: by OpenAI name, by path, or "micro", the small CLIP in this repository."""

from __future__ import annotations

import inspect
import os

import torch
from torch import nn

from .backbone_files import clip, find_weights, is_openai, not_a_clip, read_file
from .weights_digest import cached, fingerprint, weights_digest
from .weights_file import check_names

from clip.model import QuickGELU, build_model  # isort: skip  (after `clip`, which is imported without its warning)

PRECISIONS = ("auto", "fp32", "fp16", "bf16", "amp")
DTYPES = {"fp16": torch.float16, "bf16": torch.bfloat16}  # of the weights; at other precisions they are fp32
ACTIVATIONS = {"quick_gelu": QuickGELU, "gelu": nn.GELU}
# Argument of `build_model` in the clip folders of MaPLe and PromptSRC that builds OpenAI's model, without prompts.
NO_PROMPTS = {"trainer": "CoOp", "vision_depth": 0, "vision_ctx": 0, "language_depth": 0, "language_ctx": 0}


def resolve_precision(precision: str, device: torch.device, key: str = "PREC") -> str:
    """Returns the precision to run at. "auto" means fp16 on CUDA, as in CLIP, and fp32 on the CPU.

    fp32: everything in fp32. fp16, bf16: CLIP's matrices in that dtype. amp: fp32 weights with autocast.
    """
    if precision not in PRECISIONS:
        raise ValueError(f"{key} must be one of {PRECISIONS}, got {precision!r}")
    if precision == "auto":
        return "fp16" if device.type == "cuda" else "fp32"
    return precision


def load_clip(
    name: str, precision: str = "fp32", device: torch.device | str = "cpu", activation: str = "quick_gelu"
) -> nn.Module:
    """Loads a CLIP with frozen weights, in eval mode. Runs no code in the file.

    Args:
        name: "micro", an OpenAI name such as "ViT-B/16" (downloaded to ~/.cache/clip on first use), or a path to a
            TorchScript archive, a state dict or a safetensors file in OpenAI's naming.
        precision: "fp32", "amp" (fp32 weights), "fp16" or "bf16" (matrices and their biases in that dtype;
            LayerNorms, embeddings and logit_scale stay fp32, as in OpenAI's own conversion).
        device: device of the weights.
        activation: a name in ACTIVATIONS: the function in the FFNs that the weights were made for.

    Returns:
        `clip.model.CLIP` with the attributes `weights_digest` and `fingerprint`, hashes of the weights that are equal
        at every precision, and `is_openai`, whether the file is one of OpenAI's or the micro CLIP.

    Raises:
        ValueError: unknown backbone, or the file is corrupted or not a CLIP.
        FileNotFoundError: the file of the micro CLIP is missing, or the download failed.
    """
    check_activation(activation)
    path = find_weights(name)
    stat = os.stat(path)
    state_dict = read_file(name, path)
    hashes = hashes_of(path, stat, lambda: state_dict)
    model = named_model(name, state_dict, precision, device, activation)
    model.fingerprint = hashes["fingerprint"]
    model.weights_digest = hashes["weights_digest"]
    model.is_openai = name in clip._MODELS or is_openai(path, stat)  # `clip` checks its downloads
    return model


def openai_outline(name: str, path: str) -> nn.Module:
    """Builds OpenAI's model with the shapes of the weights at `path`. Call it with the device "meta" as the default."""
    return named_model(name, read_file(name, path, shapes_only=True), "fp32", "meta", "quick_gelu")


def named_model(name: str, state_dict: dict[str, torch.Tensor], *arguments) -> nn.Module:
    """Returns `openai_model` of the weights of the backbone `name`, after a check of their names."""
    try:
        check_names(state_dict)
        return openai_model(state_dict, *arguments)
    except (AssertionError, KeyError, RuntimeError, ValueError, ZeroDivisionError) as error:
        raise not_a_clip(name, " ".join(str(error).split())[:200]) from error


def openai_model(
    state_dict: dict[str, torch.Tensor], precision: str, device: torch.device | str, activation: str
) -> nn.Module:
    """Builds OpenAI's model with these weights, frozen and in eval mode. Arguments as in `load_clip`.

    `clip` raises errors of several kinds if the weights are not those of such a model.
    """
    model = build(dict(state_dict))  # a copy: build_model deletes keys
    half = [n for n, p in model.named_parameters() if p.dtype == torch.float16]
    # build_model rounds to fp16. Loading again restores the full precision of fp32 checkpoints.
    model.float().load_state_dict(state_dict)
    set_activation(model, activation)
    dtype = DTYPES.get(precision, torch.float32)
    for name in half:
        parameter = model.get_parameter(name)
        parameter.data = parameter.data.to(dtype)
    return model.to(device).eval().requires_grad_(False)


def hashes_of(path: str, stat: os.stat_result, read_tensors) -> dict[str, str]:
    """Returns `weights_digest` and `fingerprint` of the weights at `path`. `read_tensors` is called if not cached."""
    functions = {"weights_digest": weights_digest, "fingerprint": fingerprint}
    return cached(path, stat, {name: lambda f=function: f(read_tensors()) for name, function in functions.items()})


def set_activation(model: nn.Module, activation: str) -> None:
    """Sets the activation of the FFNs in the blocks of both encoders. The convolutions of a ResNet have ReLUs."""
    for encoder in (model, model.visual):
        for block in getattr(getattr(encoder, "transformer", None), "resblocks", ()):
            block.mlp.gelu = ACTIVATIONS[activation]()


def build(state_dict: dict[str, torch.Tensor]) -> nn.Module:
    """Builds OpenAI's model with the installed `clip`, which may be that of MaPLe or PromptSRC."""
    if "design_details" in inspect.signature(build_model).parameters:
        return build_model(state_dict, NO_PROMPTS)
    return build_model(state_dict)


def check_activation(activation: str) -> None:
    if activation not in ACTIVATIONS:
        raise ValueError(f"MODEL.BACKBONE.ACTIVATION must be one of {tuple(ACTIVATIONS)}, got {activation!r}")


def activation_note(backbone) -> str:
    """Returns the log line for weights that are not OpenAI's. `backbone` is the config section."""
    used = backbone.ACTIVATION
    other, names = ("gelu", "without") if used == "quick_gelu" else ("quick_gelu", "with")
    return (
        f"Note: {backbone.NAME} is not a file of OpenAI's. Its activation is taken to be {used}. For weights made with "
        f'{other}, such as open_clip models {names} "quickgelu" in their name, set MODEL.BACKBONE.ACTIVATION {other}'
    )


def read_state_dict(name: str) -> dict[str, torch.Tensor]:
    """Returns the weights of a CLIP with OpenAI's parameter names. `name` is as in `load_clip`."""
    return read_file(name, find_weights(name))

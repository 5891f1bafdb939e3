"""Loads a frozen CLIP: by OpenAI name, by path, or "micro", the small CLIP in this repository."""

from __future__ import annotations

import hashlib
import inspect
import os
import warnings
import zipfile
from pathlib import Path

import torch
from torch import nn

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")  # imported by the clip package
    from clip import clip
    from clip.model import build_model

PRECISIONS = ("auto", "fp32", "fp16", "bf16", "amp")
MICRO = Path(__file__).resolve().parents[3] / "assets" / "micro_clip.pt"
VOCAB_SIZE = 49408
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


def load_clip(name: str, precision: str = "fp32", device: torch.device | str = "cpu") -> nn.Module:
    """Loads a CLIP with frozen weights, in eval mode.

    Args:
        name: "micro", an OpenAI name such as "ViT-B/16" (downloaded to ~/.cache/clip on first use), or a path to a
            TorchScript archive or state dict in OpenAI's naming.
        precision: "fp32", "amp" (fp32 weights), "fp16" or "bf16" (matrices and their biases in that dtype;
            LayerNorms, embeddings and logit_scale stay fp32, as in OpenAI's own conversion).
        device: device of the weights.

    Returns:
        `clip.model.CLIP` with the attribute `fingerprint`: a hash of the weights that is equal at every precision.

    Raises:
        ValueError: unknown backbone, or the file is not a CLIP.
        FileNotFoundError: the file of the micro CLIP is missing, or the download failed.
    """
    state_dict = read_state_dict(name)
    try:
        model = build(dict(state_dict))  # a copy: build_model deletes keys
        half = [n for n, p in model.named_parameters() if p.dtype == torch.float16]
        # build_model rounds to fp16. Loading again restores the full precision of fp32 checkpoints.
        model.float().load_state_dict(state_dict)
    except (KeyError, RuntimeError, ZeroDivisionError) as error:
        raise ValueError(
            f"MODEL.BACKBONE.NAME {name!r} is not a CLIP with OpenAI's parameter names: {str(error).splitlines()[0]}"
        ) from error
    dtype = {"fp16": torch.float16, "bf16": torch.bfloat16}.get(precision, torch.float32)
    for parameter_name in half:
        parameter = model.get_parameter(parameter_name)
        parameter.data = parameter.data.to(dtype)
    model.fingerprint = fingerprint(state_dict)
    return model.to(device).eval().requires_grad_(False)


def build(state_dict: dict[str, torch.Tensor]) -> nn.Module:
    """Builds OpenAI's model with the installed `clip`, which may be that of MaPLe or PromptSRC."""
    if "design_details" in inspect.signature(build_model).parameters:
        return build_model(state_dict, NO_PROMPTS)
    return build_model(state_dict)


def check_input_size(cfg, clip_model: nn.Module) -> None:
    """Raises ValueError if INPUT.SIZE is not the input size of the backbone."""
    side = clip_model.visual.input_resolution
    if tuple(cfg.INPUT.SIZE) != (side, side):
        raise ValueError(
            f"INPUT.SIZE must be {(side, side)} for {cfg.MODEL.BACKBONE.NAME}, got {tuple(cfg.INPUT.SIZE)}: "
            f'add INPUT.SIZE "({side}, {side})"'
        )


def read_state_dict(name: str) -> dict[str, torch.Tensor]:
    """Returns the weights of a CLIP with OpenAI's parameter names. `name` is as in `load_clip`."""
    path = find_weights(name)
    try:
        content = (
            torch.jit.load(path, map_location="cpu").state_dict()
            if _is_torchscript(path)
            else torch.load(path, map_location="cpu", weights_only=True)
        )
    except Exception as error:
        raise ValueError(
            f"cannot read the CLIP weights at {path} ({type(error).__name__}): the file is corrupted or not a CLIP; "
            "delete it to download it again, or set another MODEL.BACKBONE.NAME"
        ) from error
    state_dict = content.get("state_dict", content) if isinstance(content, dict) else {}
    state_dict = {key.replace("module.", "", 1): value for key, value in state_dict.items() if torch.is_tensor(value)}
    for key in ("input_resolution", "context_length", "vocab_size"):
        state_dict.pop(key, None)
    if "token_ids" in content and "token_embedding.weight" in state_dict:
        rows = state_dict["token_embedding.weight"]
        full = rows.float().mean(0).to(rows.dtype).repeat(VOCAB_SIZE, 1)  # unknown tokens get the mean embedding
        state_dict["token_embedding.weight"] = full.index_copy(0, content["token_ids"], rows)
    return state_dict


def find_weights(name: str) -> str:
    """Returns the path of a CLIP's weights. Downloads an OpenAI name to ~/.cache/clip if it is not there yet."""
    if name == "micro":
        if not MICRO.is_file():
            raise FileNotFoundError(
                f"missing micro CLIP: {MICRO}; copy assets/micro_clip.pt of CLIPFit's repository there, or set "
                "another MODEL.BACKBONE.NAME"
            )
        return str(MICRO)
    if name in clip._MODELS:
        return _download(name)
    if os.path.isfile(os.path.expanduser(name)):
        return os.path.expanduser(name)
    names = ", ".join(["micro", *clip._MODELS])
    raise ValueError(f"MODEL.BACKBONE.NAME must be a file or one of {names}, got {name!r}")


def _download(name: str) -> str:
    url = clip._MODELS[name]
    root = os.path.expanduser("~/.cache/clip")
    # CoOp's clip folder: _download(url). The package on PyPI: _download(url, root).
    arguments = (url, root) if len(inspect.signature(clip._download).parameters) > 1 else (url,)
    try:
        return clip._download(*arguments)
    except (OSError, RuntimeError) as error:
        partial = os.path.join(root, os.path.basename(url))
        if os.path.isfile(partial) and not _sha256_matches(partial, url):
            os.remove(partial)  # an incomplete download must not be used as weights
        raise FileNotFoundError(
            f"cannot download the weights of {name} from {url} ({error}): put the file at {partial}, "
            "or set MODEL.BACKBONE.NAME to its path"
        ) from error


def _sha256_matches(path: str, url: str) -> bool:
    with open(path, "rb") as file:
        return hashlib.sha256(file.read()).hexdigest() == url.split("/")[-2]


def _is_torchscript(path: str) -> bool:
    """Whether a file is a TorchScript archive, as OpenAI's are: a zip file that contains `constants.pkl`."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(entry.split("/")[1:2] == ["constants.pkl"] for entry in archive.namelist())


def fingerprint(state_dict: dict[str, torch.Tensor], samples: int = 4096) -> str:
    """Returns 16 hex digits that identify a CLIP's weights at every precision.

    Hashes the name, shape and up to `samples` evenly spaced values of each tensor, rounded to fp16. This takes
    milliseconds; hashing all values takes seconds.
    """
    digest = hashlib.sha256()
    for name in sorted(state_dict):
        flat = state_dict[name].detach().flatten()
        flat = flat[:: max(1, flat.numel() // samples)].to("cpu", torch.float16)
        digest.update(f"{name}{tuple(state_dict[name].shape)}".encode())
        digest.update(flat.numpy().tobytes())
    return digest.hexdigest()[:16]

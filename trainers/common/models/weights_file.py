"""Reads the weights of a CLIP from a file: a state dict of PyTorch, a TorchScript archive, or a safetensors file.

No code in the file is run. Checksums of zip archives, the default of `torch.save` and TorchScript, are verified.
"""

from __future__ import annotations

import pickle
import re

import torch

from ..runs import torch_archive
from ..runs.inert_pickle import StandIn
from .blocks import PARAMETERS
from .transformers_names import to_openai

VOCAB_SIZE = 49408
CONTAINERS = ("state_dict", "model_state_dict", "model", "module")  # keys of training checkpoints with the weights
MAX_CONTAINERS = 5  # one in another
WRAPPERS = {"module", "model", "_orig_mod", "clip", "clip_model"}  # added to names by DataParallel, torch.compile, ...
NOT_WEIGHTS = {"input_resolution", "context_length", "vocab_size", "attn_mask"}
TEXT = {
    "positional_embedding", "text_projection", "logit_scale", "token_embedding.weight", "ln_final.weight",
    "ln_final.bias",
}  # fmt: skip
VIT = {
    "visual.class_embedding", "visual.positional_embedding", "visual.proj", "visual.conv1.weight",
    "visual.ln_pre.weight", "visual.ln_pre.bias", "visual.ln_post.weight", "visual.ln_post.bias",
}  # fmt: skip
OTHER_NAMES = {  # beginnings of names in other libraries' files, and what to do
    ("vision_model.", "text_model."): "transformers: give the folder with the file and config.json",
    ("text.", "visual.trunk.", "logit_bias"): "open_clip: give open_clip:ARCHITECTURE/ and the path",
}
RESNET = {"visual.conv1.weight", "visual.attnpool.positional_embedding"} | {
    f"visual.layer{i}.0.conv1.weight" for i in range(1, 5)
}


def read(path: str, shapes_only: bool = False) -> dict[str, torch.Tensor]:
    """Returns the weights in a file by their names, without the prefixes of wrappers such as DataParallel.

    Weights of a `CLIPModel` of transformers get OpenAI's names.

    Args:
        shapes_only: the tensors need not have values: those of a zip archive are on the device "meta". Fast.

    Raises:
        ValueError: the file is corrupted, or holds no weights. The message is the reason, without the path.
    """
    try:
        return _read(path, shapes_only)
    except ImportError as error:
        raise ValueError(f"it needs the package {error.name}: pip install {error.name}") from error
    except pickle.UnpicklingError as error:
        with open(path, "rb") as file:
            is_pickle = file.read(1) == pickle.PROTO
        advice = f"or holds Python objects: {_conversion(path)}" if is_pickle else "or no file with weights"
        raise ValueError(f"it is corrupted, {advice}") from error
    except _NoWeights as error:
        raise ValueError(str(error)) from error
    except Exception as error:  # a corrupted file can raise anything
        reason = " ".join(str(error).split())[:150]
        raise ValueError(f"it is corrupted, or no file with weights ({type(error).__name__}: {reason})") from error


class _NoWeights(Exception):
    """An intact file that holds something else."""


def _read(path: str, shapes_only: bool) -> dict[str, torch.Tensor]:
    outer, tensors = {}, _content(path, shapes_only)
    keys = []
    while len(keys) < MAX_CONTAINERS:
        if isinstance(tensors, StandIn):
            conversion = _conversion(path, keys)
            raise _NoWeights(f"it holds a pickled model ({tensors.origin}), not its state_dict: {conversion}")
        if not isinstance(tensors, dict):
            raise _NoWeights(f"it holds a {type(tensors).__name__} instead of a state_dict")
        inner = [key for key in CONTAINERS if isinstance(tensors.get(key), (dict, StandIn))]
        if not inner:
            break
        keys.append(inner[0])
        outer, tensors = tensors, tensors[inner[0]]
    return _expanded(to_openai(_renamed(tensors)), outer.get("token_ids"))


def _content(path: str, shapes_only: bool):
    if path.endswith(".safetensors"):
        import safetensors.torch

        return safetensors.torch.load_file(path)
    if torch_archive.is_archive(path):
        return torch_archive.read(path, shapes_only)
    return torch.load(path, map_location="cpu", weights_only=True)  # PyTorch before 1.6


def _conversion(path: str, keys: list[str] = ()) -> str:
    """Returns advice on a pickled model, which is below `keys` of the content."""
    model = f"torch.load({path!r}, weights_only=False)" + "".join(f"[{key!r}]" for key in keys)
    return (
        "loading it runs code in the file; if you trust it, run this where its classes can be imported: "
        f"python -c \"import torch; torch.save({model}.state_dict(), 'weights.pt')\""
    )


def _renamed(tensors: dict) -> dict[str, torch.Tensor]:
    """Returns the tensors without the wrappers in their names: "module._orig_mod.visual.proj" -> "visual.proj"."""
    renamed = {}
    for name, tensor in tensors.items():
        parts = [part for part in str(name).split(".") if part not in WRAPPERS]
        if not isinstance(tensor, torch.Tensor) or not parts or parts[-1] in NOT_WEIGHTS:
            continue
        short = ".".join(parts)
        if short in renamed:
            raise _NoWeights(f"it holds several models: two tensors are {short} without prefix")
        renamed[short] = tensor.detach()
    return renamed


def _expanded(tensors: dict[str, torch.Tensor], token_ids) -> dict[str, torch.Tensor]:
    """Returns the tensors with all rows of the token embedding. The micro CLIP's file has only those of `token_ids`."""
    rows = tensors.get("token_embedding.weight")
    if rows is None or not isinstance(token_ids, torch.Tensor):
        return tensors
    if rows.is_meta:
        full = rows.new_empty(VOCAB_SIZE, rows.shape[1])
    else:
        full = rows.float().mean(0).to(rows.dtype).repeat(VOCAB_SIZE, 1)  # unknown tokens get the mean embedding
        full = full.index_copy(0, token_ids, rows)
    return {**tensors, "token_embedding.weight": full}


def check_names(tensors: dict[str, torch.Tensor]) -> None:
    """Raises ValueError unless the tensors have the names of one of OpenAI's CLIPs. The message is the reason."""
    vit = any(name.startswith(("visual.transformer.", "visual.class_embedding")) for name in tensors)
    resnet = any(name.startswith("visual.layer") for name in tensors)
    if vit == resnet:
        names = ", ".join(sorted(tensors)[:3]) or "no tensors"
        known = (
            f"; these are names of {advice}"
            for start, advice in OTHER_NAMES.items()
            if any(n.startswith(start) for n in tensors)
        )
        other = next(known, "")
        raise ValueError(f"it has no image encoder with names such as visual.conv1.weight, but {names}, ..." + other)
    expected = TEXT | (VIT if vit else RESNET) | _block_names(tensors, "transformer.resblocks.")
    if vit:
        expected |= _block_names(tensors, "visual.transformer.resblocks.")
    missing = sorted(expected - tensors.keys())
    # the number of layers in the stages of a ResNet varies: `load_state_dict` checks their names
    unexpected = sorted(name for name in tensors.keys() - expected if vit or not name.startswith("visual."))
    if missing or unexpected:
        found = differences(missing=missing, unexpected=unexpected)
        raise ValueError(f"its {'ViT' if vit else 'ResNet'} has other tensors than OpenAI's: {found}")


def differences(**names: list[str]) -> str:
    """Returns the numbers of names, with examples: "2 missing (e.g. visual.proj), 1 unexpected (e.g. head.bias)"."""
    return ", ".join(f"{len(some)} {kind} (e.g. {some[0]})" for kind, some in names.items() if some)


def _block_names(tensors: dict, prefix: str) -> set[str]:
    """Returns the names of the parameters in all blocks that the tensors have; at least in block 0."""
    numbers = {match[1] for match in (re.match(re.escape(prefix) + r"(\d+)\.", name) for name in tensors) if match}
    return {f"{prefix}{number}.{name}" for number in numbers | {"0"} for name in PARAMETERS}


def input_size(tensors: dict[str, torch.Tensor]) -> int:
    """Returns the side of the images in pixels that an image encoder was made for. Call `check_names` first."""
    if "visual.attnpool.positional_embedding" in tensors:  # a ResNet, which reduces by 32
        patch, positions = 32, tensors["visual.attnpool.positional_embedding"]
    else:
        patch, positions = tensors["visual.conv1.weight"].shape[-1], tensors["visual.positional_embedding"]
    return patch * round((positions.shape[0] - 1) ** 0.5)

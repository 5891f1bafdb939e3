"""Finds and reads the file of a backbone: an OpenAI name, a path, or "micro", the small CLIP in this repository."""

from __future__ import annotations

import difflib
import inspect
import os
import re
import warnings
from functools import lru_cache
from pathlib import Path

import torch

from .weights_digest import cached, file_sha256
from .weights_file import check_names, input_size, read

with warnings.catch_warnings():
    warnings.filterwarnings("ignore", message=".*pkg_resources.*")  # imported by the clip package
    from clip import clip

MICRO = Path(__file__).resolve().parents[3] / "assets" / "micro_clip.pt"
# Arguments of clip.model.CLIP: length of the features, image side, image layers, image width, patch, context length,
# vocabulary, text width, text heads, text layers
OPENAI = {
    "RN50": (1024, 224, (3, 4, 6, 3), 64, None, 77, 49408, 512, 8, 12),
    "RN101": (512, 224, (3, 4, 23, 3), 64, None, 77, 49408, 512, 8, 12),
    "RN50x4": (640, 288, (4, 6, 10, 6), 80, None, 77, 49408, 640, 10, 12),
    "RN50x16": (768, 384, (6, 8, 18, 8), 96, None, 77, 49408, 768, 12, 12),
    "RN50x64": (1024, 448, (3, 15, 36, 10), 128, None, 77, 49408, 1024, 16, 12),
    "ViT-B/32": (512, 224, 12, 768, 32, 77, 49408, 512, 8, 12),
    "ViT-B/16": (512, 224, 12, 768, 16, 77, 49408, 512, 8, 12),
    "ViT-L/14": (768, 224, 24, 1024, 14, 77, 49408, 768, 12, 12),
    "ViT-L/14@336px": (768, 336, 24, 1024, 14, 77, 49408, 768, 12, 12),
}
SMALLEST_OPENAI = 200_000_000  # bytes; OpenAI's smallest file has 244 MB


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
    names = ["micro", *clip._MODELS]
    raise ValueError(
        f"MODEL.BACKBONE.NAME must be a file or folder, one of {', '.join(names)}, or start with "
        f"open_clip:, hf-hub: or transformers:, got {name!r}{similar(name, names)}"
    )


def similar(name: str, names: list[str], count: int = 1) -> str:
    """Returns a hint with the most similar of `names`, however written: "vit_b16" -> " (did you mean ViT-B/16?)"."""
    plain = {re.sub(r"[^a-z0-9]", "", known.lower()): known for known in names}
    nearest = difflib.get_close_matches(re.sub(r"[^a-z0-9]", "", name.lower()), plain, count, 0.6)
    return f" (did you mean {' or '.join(plain[key] for key in nearest)}?)" if nearest else ""


def download_folder() -> str:
    return os.path.expanduser("~/.cache/clip")


def _download(name: str) -> str:
    url = clip._MODELS[name]
    root = download_folder()
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
    return file_sha256(path) == url.split("/")[-2]


def read_file(name: str, path: str, shapes_only: bool = False) -> dict[str, torch.Tensor]:
    """Returns the weights in the file at `path`, which `name` stands for; see `weights_file.read`."""
    try:
        return read(path, shapes_only)
    except ValueError as error:
        if name in clip._MODELS or os.path.dirname(os.path.realpath(path)) == os.path.realpath(download_folder()):
            remedy = "delete it to download it again"
        elif name == "micro":
            remedy = "restore assets/micro_clip.pt of this repository"
        else:
            remedy = "restore a copy"
        raise ValueError(
            f"cannot read the CLIP weights at {path}: {error}; {remedy}, or set another MODEL.BACKBONE.NAME"
        ) from error


def find_input_size(name: str) -> int | None:
    """Returns the side of a backbone's images in pixels; None for a name of another `clip` than OpenAI's."""
    if name in clip._MODELS:
        return OPENAI[name][1] if name in OPENAI else None
    return _facts(name)[0]


def is_resnet(name: str) -> bool:
    """Whether the image encoder of a backbone is a ResNet."""
    return name.startswith("RN") if name in clip._MODELS else _facts(name)[1]


def _facts(name: str) -> tuple[int, bool]:
    path = find_weights(name)
    stat = os.stat(path)
    return _facts_of_file(name, path, (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=None)
def _facts_of_file(name: str, path: str, version: tuple) -> tuple[int, bool]:
    """Returns the input size of a file, and whether it is a ResNet. `version` changes with its content."""
    tensors = read_file(name, path, shapes_only=True)
    try:
        check_names(tensors)
        return input_size(tensors), "visual.attnpool.positional_embedding" in tensors
    except (IndexError, ValueError) as error:
        raise not_a_clip(name, str(error)) from error


def not_a_clip(name: str, reason: str) -> ValueError:
    return ValueError(f"MODEL.BACKBONE.NAME {name!r} is not a CLIP with OpenAI's parameter names: {reason}")


def is_openai(path: str, stat: os.stat_result) -> bool:
    """Whether a file is one of OpenAI's, by its SHA-256, or the micro CLIP. `stat` is as in `cached`."""
    if os.path.realpath(path) == str(MICRO):
        return True
    if stat.st_size < SMALLEST_OPENAI:
        return False
    sha256 = cached(path, stat, {"sha256": lambda: file_sha256(path)})["sha256"]
    return sha256 in [url.split("/")[-2] for url in clip._MODELS.values()]

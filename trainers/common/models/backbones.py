"""Finds and loads the backbone that MODEL.BACKBONE.NAME names.

    micro, ViT-B/16, FILE                  OpenAI's CLIP and files in its naming (`loading`): our own, faster encoders
    open_clip:ARCHITECTURE/TAG-OR-FILE     a model of open_clip (`open_clip_models`)
    hf-hub:ORGANISATION/NAME               the same, from the Hugging Face hub
    transformers:NAME, FOLDER              a checkpoint of transformers (`transformers_models`)

A library's module has functions of the same names as here and imports the library where it is used: `preprocess(name)`
and `outline(name)` load no weights and raise ValueError for an unknown name;
`load(name, precision, device)` loads them; `known()` lists names. It may have `is_published(name)`: whether the library
lists these weights; and `file_hashes(name)`: the identity of weights in a local file, None for another name.
"""

from __future__ import annotations

import importlib
import os
from functools import lru_cache
from types import ModuleType

import torch

from dassl.config import cfg_default

from . import loading
from .backbone import Backbone
from .backbone_files import OPENAI, clip, find_input_size, find_weights, is_resnet, read_file
from .places import Unsupported, encoders
from .preprocess import Preprocess, follow
from .text import TextEncoder
from .weights_digest import folder_hashes

from clip.model import CLIP  # isort: skip  (after `backbone_files`, which imports `clip` without its warning)

PREFIXES = {"open_clip": "open_clip_models", "hf-hub": "open_clip_models", "transformers": "transformers_models"}
FOLDERS = {"open_clip_config.json": "open_clip_models", "config.json": "transformers_models"}  # file that tells


def library_of(name: str) -> ModuleType | None:
    """Returns the module that loads a backbone; None for OpenAI's CLIP and files in its naming."""
    if name in ("micro", *clip._MODELS):
        return None
    module = PREFIXES.get(name.partition(":")[0]) if ":" in name else None
    folder = os.path.expanduser(name)
    if module is None and os.path.isdir(folder):
        module = next((m for file, m in FOLDERS.items() if os.path.isfile(os.path.join(folder, file))), None)
        if module is None:
            raise ValueError(f"MODEL.BACKBONE.NAME: the folder {name} has none of the files {', '.join(FOLDERS)}")
    return importlib.import_module(f".{module}", __package__) if module else None


def preprocess_of(section) -> Preprocess:
    """Returns how the images of a backbone are prepared. Loads no weights. `section` is MODEL.BACKBONE.

    Raises:
        ValueError: unknown backbone or activation, or a file that is not a CLIP.
    """
    library = library_of(section.NAME)
    if library:
        if section.ACTIVATION != cfg_default.MODEL.BACKBONE.ACTIVATION:
            raise ValueError(
                f"MODEL.BACKBONE.ACTIVATION has no effect on {section.NAME}, which knows its own: leave it out"
            )
        return library.preprocess(section.NAME)
    loading.check_activation(section.ACTIVATION)
    return Preprocess(find_input_size(section.NAME))


@lru_cache(maxsize=None)
def image_tokens_obstacle(name: str) -> str:
    """Returns why a backbone takes no learned tokens at the blocks of its image encoder; "" if it does.

    Loads no weights: tries it on the outline of another library's model.
    """
    if library_of(name):
        return outline(name).image_tokens_obstacle
    return "its image encoder is a ResNet" if is_resnet(name) else ""


def takes_image_insertions(name: str) -> bool:
    """Whether the image encoder has transformer blocks, with linear layers in attention and FFN. Loads no weights.

    Text encoders all do.
    """
    return bool(outline(name).insertion_points(image=True)) if library_of(name) else not is_resnet(name)


def check_blocks(name: str, value: str, key: str) -> None:
    """Raises Unsupported unless the encoders that a value of a method's key ENCODERS names have transformer blocks."""
    if "image" in encoders(value, key) and not takes_image_insertions(name):
        raise Unsupported(
            f"{key} {value!r} needs an image encoder with transformer blocks, and that of MODEL.BACKBONE.NAME {name} "
            f"has none: set {key} text, or use another backbone"
        )


def has_own_encoders(name: str) -> bool:
    """Whether our own encoders run a backbone, as it has the structure of OpenAI's CLIP. Loads no weights."""
    return library_of(name) is None or isinstance(outline(name).text_encoder, TextEncoder)


def features_per_image(name: str) -> int:
    """Returns the number of features of an image: 1, but with BLIP-2. Loads no weights."""
    return getattr(library_of(name), "features_per_image", lambda name: 1)(name)


def complete_cfg(cfg) -> None:
    """Checks the backbone, and sets the INPUT keys to what it expects. Loads no weights.

    Raises:
        ValueError: as in `preprocess_of`, or a size that does not fit the backbone.
    """
    follow(cfg, preprocess_of(cfg.MODEL.BACKBONE))


def load_backbone(
    name: str, precision: str = "fp32", device: torch.device | str = "cpu", activation: str = "quick_gelu"
) -> Backbone:
    """Returns the frozen backbone, in eval mode.

    Args:
        name: as above.
        precision: "fp32", "amp" (fp32 weights), "fp16" or "bf16".
        device: device of the weights.
        activation: function in the FFNs of OpenAI's CLIP: "quick_gelu" or "gelu". Other libraries know their own.

    Raises:
        ValueError: unknown backbone, or its file is corrupted.
        FileNotFoundError: there is no file with its weights, or the download failed.
    """
    library = library_of(name)
    if library:
        return library.load(name, precision, device)
    return Backbone(name, loading.load_clip(name, precision, device, activation), activation)


def outline(name: str) -> Backbone:
    """Returns a backbone without weights, on the device "meta". Do not modify it: a second call returns the same.

    Raises:
        ValueError, FileNotFoundError: as `load_backbone`.
    """
    if library_of(name) or name in OPENAI:
        return _outline(name, "", None)
    path = find_weights(name)
    stat = os.stat(path)
    return _outline(name, path, (stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=8)
def _outline(name: str, path: str, version: tuple | None) -> Backbone:
    """Returns an outline. `path` is the file of weights in OpenAI's naming; `version` changes with its content."""
    library = library_of(name)
    if library:
        return library.outline(name)
    with torch.device("meta"):
        if path:
            model = loading.openai_outline(name, path)
        else:
            model = CLIP(*OPENAI[name]).eval().requires_grad_(False)
    return Backbone(name, model, "quick_gelu")


def check_named_by(meta: dict) -> None:
    """Checks the backbone that a run or a checkpoint names, as `meta` has it.

    A file from elsewhere must not choose which weights are used. So they must be OpenAI's, or published by the library
    of the backbone, or those at a path with the digest that the run recorded. The user can name any backbone.

    Raises:
        ValueError: there is no such file, its weights have another digest (in older runs: another fingerprint), or the
            name is that of weights that anyone could have published.
    """
    name = str(meta["backbone"])
    if name in ("micro", *clip._MODELS):
        return
    prefix, _, rest = name.partition(":")
    path = rest if prefix in PREFIXES else name
    if path.startswith(("//", "\\\\")):  # Windows would log in to that computer
        raise ValueError(f"the run names a backbone on another computer: pass --backbone {name} if you trust it")
    path = os.path.expanduser(path)
    if os.path.isdir(path):
        hashes = folder_hashes(path)
    elif prefix in PREFIXES:
        library = library_of(name)
        if getattr(library, "is_published", lambda name: False)(name):
            return
        hashes = getattr(library, "file_hashes", lambda name: None)(name)
        if hashes is None:
            raise ValueError(f"the run names the backbone {name}: pass --backbone {name} if you trust its weights")
    else:
        path = find_weights(name)
        stat = os.stat(path)
        hashes = loading.hashes_of(path, stat, lru_cache(maxsize=None)(lambda: read_file(name, path)))
    key = "weights_digest" if meta.get("weights_digest") else "fingerprint"
    if hashes[key] != meta.get(key):
        raise ValueError(
            f"the backbone {name} that the run names has other weights than those it was tuned on ({key} "
            f"{hashes[key][:16]} instead of {str(meta.get(key))[:16]}): pass --backbone with the right one"
        )

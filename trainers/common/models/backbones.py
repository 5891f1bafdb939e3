"""Finds and loads the backbone that MODEL.BACKBONE.NAME names.

    micro, ViT-B/16, FILE                  OpenAI's CLIP and files in its naming (`loading`): our own, faster encoders
    open_clip:ARCHITECTURE/TAG-OR-FILE     a model of open_clip (`open_clip_models`)
    hf-hub:ORGANISATION/NAME               the same, from the Hugging Face hub
    transformers:NAME, FOLDER              a checkpoint of transformers (`transformers_models`)

A library's module has functions of the same names as here and imports the library where it is used: `preprocess(name)`,
`takes_image_tokens(name)` and `outline(name)` load no weights and raise ValueError for an unknown name;
`load(name, precision, device)` loads them; `known()` lists names.
"""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import torch
from torch import nn

from . import loading
from .backbone import Backbone
from .backbone_files import OPENAI, find_input_size, is_resnet
from .image import image_encoder
from .preprocess import Preprocess, follow
from .text import TextEncoder

from clip.model import CLIP  # isort: skip  (after `backbone_files`, which imports `clip` without its warning)

PREFIXES = {"open_clip": "open_clip_models", "hf-hub": "open_clip_models", "transformers": "transformers_models"}
FOLDERS = {"open_clip_config.json": "open_clip_models", "config.json": "transformers_models"}  # file that tells


def library_of(name: str) -> ModuleType | None:
    """Returns the module that loads a backbone; None for OpenAI's CLIP and files in its naming."""
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
        return library.preprocess(section.NAME)
    loading.check_activation(section.ACTIVATION)
    return Preprocess(find_input_size(section.NAME))


def takes_image_tokens(name: str) -> bool:
    """Whether the image encoder of a backbone takes learned tokens (`image.ViT`). Loads no weights."""
    library = library_of(name)
    return library.takes_image_tokens(name) if library else not is_resnet(name)


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
    return as_backbone(name, loading.load_clip(name, precision, device, activation), activation)


def as_backbone(name: str, model: nn.Module, activation: str) -> Backbone:
    """Returns OpenAI's model with our encoders."""
    backbone = Backbone(name, model, image_encoder(model.visual), TextEncoder(model))
    backbone.activation = activation
    return backbone


def outline(name: str) -> Backbone:
    """Returns a backbone without weights, on the device "meta", if its name tells the architecture; else loads it."""
    library = library_of(name)
    if library:
        return library.outline(name)
    if name not in OPENAI:
        return load_backbone(name)
    with torch.device("meta"):
        model = CLIP(*OPENAI[name]).eval().requires_grad_(False)
    return as_backbone(name, model, "quick_gelu")

"""Models of open_clip as backbones. `open_clip_sources` lists their names.

A model with the structure of OpenAI's CLIP uses our encoders, which are faster. Any other runs open_clip's own forward
pass. Both have the activation, the number of heads and the preprocessing of their config.
"""

from __future__ import annotations

import json
import os
from copy import deepcopy
from functools import lru_cache, partial

import torch
from torch import nn

from .backbone import Backbone
from .backbone_files import read_file
from .library import LibraryBackbone, LibraryImage, LibraryText
from .loading import DTYPES, hashes_of, openai_model
from .open_clip_sources import CONFIG, KEY, WEIGHTS, Source, find_source, fits
from .open_clip_tokenizers import load_tokenizer
from .preprocess import Preprocess
from .tokenizers import LibraryTokenizer, OpenAITokenizer
from .weights_digest import folder_hashes, with_config
from .weights_file import VOCAB_SIZE, differences

from clip.model import CLIP  # isort: skip  (after `backbone_files`, which imports `clip` without its warning)

# Keys of a config with OpenAI's structure. Any other key may change the structure.
OPENAI_KEYS = {
    "": {"embed_dim", "quick_gelu", "vision_cfg", "text_cfg"},
    "vision_cfg": {"image_size", "layers", "width", "patch_size", "head_width"},
    "text_cfg": {"context_length", "vocab_size", "width", "heads", "layers"},
}


def preprocess(name: str) -> Preprocess:
    """Returns how images become the input of a model. Loads no weights.

    Raises:
        ValueError: open_clip is not installed, or the name, its tag or its config is invalid.
        FileNotFoundError: the config is on the hub and cannot be downloaded.
    """
    return find_source(name).preprocess


def load(name: str, precision: str, device: torch.device | str) -> Backbone:
    """Returns the frozen model as a backbone, in eval mode.

    Args:
        precision: "fp32", "amp" (fp32 weights), "fp16" or "bf16". With OpenAI's structure these cast the matrices
            only. Other models are cast as a whole, including LayerNorms and the statistics of BatchNorms; only the
            logit scale stays fp32. Tuned parameters have fp32 masters in either case.

    Raises:
        ValueError: as in `preprocess`; the tokenizer is missing; the weights are corrupted or of another architecture.
        FileNotFoundError: a download failed.
    """
    source = find_source(name)
    is_openai = has_openai_structure(source.config)
    tokenizer = OpenAITokenizer() if is_openai else load_tokenizer(source)  # before the weights, as it may be missing
    with torch.device("meta" if is_openai else "cpu"):  # of the former, only the names and shapes are used
        model = new_model(source)
    path = source.find_weights()
    stat = os.stat(path)
    tensors = read_file(name, path)
    hashes = identity(source, path, stat, lambda: tensors)
    tensors = renamed(tensors, model)
    check_tensors(name, tensors, model.state_dict())
    if is_openai:
        backbone = openai_backbone(source, openai_model(tensors, precision, device, activation_of(source.config)))
    else:
        model.load_state_dict(tensors)
        backbone = library_backbone(source, model, tokenizer, precision, device)
    backbone.model.fingerprint, backbone.model.weights_digest = hashes["fingerprint"], hashes["weights_digest"]
    return backbone


def identity(source: Source, path: str, stat: os.stat_result, read_tensors) -> dict[str, str]:
    """Returns the hashes of a model whose weights are at `path`. Arguments as in `hashes_of`."""
    if source.folder:
        return folder_hashes(source.folder)
    return with_config(hashes_of(path, stat, read_tensors), source.config)


def file_hashes(name: str) -> dict[str, str] | None:
    """Returns the hashes of open_clip:ARCHITECTURE/FILE; None for another name. Opens no file of another computer."""
    prefix, _, rest = name.partition(":")
    path = os.path.expanduser(rest.partition("/")[2])
    if prefix != "open_clip" or path.startswith(("//", "\\\\")) or not os.path.isfile(path):
        return None
    return identity(find_source(name), path, os.stat(path), lru_cache(maxsize=None)(lambda: read_file(name, path)))


class OpenClipBackbone(LibraryBackbone):
    """A model of open_clip that runs open_clip's own forward pass.

    Attributes:
        config: open_clip's config of the model.
    """

    config: dict = {}

    def save(self, folder: str, state: dict[str, torch.Tensor]) -> None:
        """Writes the model with other weights to a folder, in the layout of open_clip's repositories on the hub."""
        from safetensors.torch import save_file

        tensors = {name: tensor.contiguous() for name, tensor in state.items()}
        save_file(tensors, os.path.join(folder, WEIGHTS[0]), {"format": "pt"})
        keys = {key.replace("PIXEL_", "").lower(): value for key, value in self.preprocess.keys().items()}
        del keys["size"]  # in the config of the model
        with open(os.path.join(folder, CONFIG), "w", encoding="utf-8") as file:
            json.dump({"model_cfg": self.config, "preprocess_cfg": keys}, file, indent=1)
        with open(os.path.join(folder, "clip_tuned.json"), "w", encoding="utf-8") as file:
            json.dump(self.config, file, indent=1)  # for open_clip.add_model_config
        tokenize = self.text_encoder.tokenizer.tokenize
        if hasattr(tokenize, "save_pretrained"):  # of transformers: open_clip reads it from the folder
            tokenize.save_pretrained(folder)


def known() -> list[str]:
    """Returns the names of all weights that open_clip knows. Raises ImportError if it is not installed."""
    import open_clip

    return [
        f"open_clip:{architecture}/{tag}"
        for architecture, tag in open_clip.list_pretrained()
        if fits(open_clip.get_pretrained_cfg(architecture, tag), open_clip.get_model_config(architecture))
    ]


def is_published(name: str) -> bool:
    """Whether open_clip lists these weights."""
    return name in known()


def outline(name: str) -> Backbone:
    """Returns a model without weights and tokenizer, on the device "meta". Raises as `preprocess`."""
    source = find_source(name)
    vision, text = source.config["vision_cfg"], source.config["text_cfg"]
    with torch.device("meta"):
        if not has_openai_structure(source.config):
            tokenizer = LibraryTokenizer(None, None, text.get("context_length", 77), 0, 0, 0)
            return library_backbone(source, new_model(source), tokenizer, "fp32", "meta")
        layers = tuple(vision["layers"]) if is_resnet(source.config) else vision["layers"]
        image = (vision.get("image_size", 224), layers, vision["width"], vision.get("patch_size", 16))
        text_sizes = (text.get("width", 512), text.get("heads", 8), text.get("layers", 12))
        model = CLIP(source.config["embed_dim"], *image, 77, VOCAB_SIZE, *text_sizes).eval().requires_grad_(False)
    return openai_backbone(source, model)


def activation_of(config: dict) -> str:
    return "quick_gelu" if config.get("quick_gelu") else "gelu"


def is_resnet(config: dict) -> bool:
    return isinstance(config["vision_cfg"]["layers"], (list, tuple))


def has_openai_structure(config: dict) -> bool:
    """Whether OpenAI's code, which finds the sizes in the weights, builds the same model and takes the same tokens."""
    vision, text = config["vision_cfg"], config["text_cfg"]
    if any((config[key] if key else config).keys() - allowed for key, allowed in OPENAI_KEYS.items()):
        return False
    if "layers" not in vision:
        return False
    side, width = vision.get("image_size", 224), text.get("width", 512)
    patch = 32 if is_resnet(config) else vision.get("patch_size", 16)
    sizes = (side, patch, vision.get("width"), vision.get("head_width", 64), width)
    if not all(isinstance(size, int) and size > 0 for size in sizes):
        return False  # open_clip has a default, or says what is wrong
    sizes_are_found = side % patch == 0
    # its number of heads, which is replaced, must divide the width
    divides = all(n >= 64 and n % (n // 64) == 0 for n in ((width,) if is_resnet(config) else (width, vision["width"])))
    is_openai_text = text.get("context_length", 77) == 77 and text.get("vocab_size", VOCAB_SIZE) == VOCAB_SIZE
    return sizes_are_found and divides and is_openai_text


def new_model(source: Source) -> nn.Module:
    """Returns open_clip's model with random weights, on the default device. Downloads no weights of its parts.

    Raises:
        ValueError: the config is invalid, or names a text encoder of the hub whose config is missing.
    """
    import open_clip

    config = deepcopy(source.config)
    config["vision_cfg"]["timm_model_pretrained"] = config["text_cfg"]["hf_model_pretrained"] = False
    custom_text = config.pop("custom_text", False) or "hf_model_name" in config["text_cfg"]
    kind = open_clip.CLIP
    if custom_text:
        kind = open_clip.CoCa if "multimodal_cfg" in config else open_clip.CustomTextCLIP
    try:
        return kind(**config)
    except (AssertionError, KeyError, OSError, RuntimeError, TypeError, ValueError, ZeroDivisionError) as error:
        reason = " ".join(str(error).split())[:200]
        raise ValueError(f"{KEY} {source.name}: open_clip cannot build this model ({reason})") from error


def renamed(tensors: dict[str, torch.Tensor], model: nn.Module) -> dict[str, torch.Tensor]:
    """Returns the weights under today's names. Former versions of open_clip wrote some models otherwise."""
    from open_clip.model import convert_to_custom_text_state_dict

    expected = model.state_dict()
    if "positional_embedding" in tensors and hasattr(model, "text"):
        tensors = convert_to_custom_text_state_dict(tensors)
    constants = {name for name in tensors if name.endswith("embeddings.position_ids")} - expected.keys()
    tensors = {name: tensor for name, tensor in tensors.items() if name not in constants}
    for name in {"logit_scale", "logit_bias"} & tensors.keys() & expected.keys():  # of shape () or (1,)
        tensors[name] = tensors[name].reshape(expected[name].shape)
    return tensors


def check_tensors(name: str, tensors: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    """Raises ValueError unless the tensors have the names and shapes of those expected.

    Nothing is resized: open_clip would interpolate positional embeddings of another image size or context length.
    """
    shapes = [
        f"{key} {tuple(tensors[key].shape)} instead of {tuple(tensor.shape)}"
        for key, tensor in expected.items()
        if key in tensors and tensors[key].shape != tensor.shape
    ]
    missing, unexpected = sorted(expected.keys() - tensors.keys()), sorted(tensors.keys() - expected.keys())
    found = differences(missing=missing, unexpected=unexpected, **{"of another shape": shapes})
    if found:
        raise ValueError(f"{KEY} {name}: the weights have other tensors than this architecture: {found}")


def openai_backbone(source: Source, model: nn.Module) -> Backbone:
    """Returns a model of OpenAI's class as a backbone of open_clip's."""
    set_heads(model, source.config)
    backbone = Backbone(source.name, model, activation_of(source.config))
    backbone.library, backbone.preprocess = "open_clip", source.preprocess
    return backbone


def set_heads(model: nn.Module, config: dict) -> None:
    """Sets the number of attention heads. OpenAI's code has one per 64 channels, as weights do not tell."""
    head_width = config["vision_cfg"].get("head_width", 64)
    for block in model.transformer.resblocks:
        _set_heads(block.attn, config["text_cfg"].get("heads", 8))
    if hasattr(model.visual, "attnpool"):
        model.visual.attnpool.num_heads = config["vision_cfg"]["width"] * 32 // head_width
    else:
        for block in model.visual.transformer.resblocks:
            _set_heads(block.attn, config["vision_cfg"]["width"] // head_width)


def _set_heads(attention: nn.MultiheadAttention, heads: int) -> None:
    attention.num_heads, attention.head_dim = heads, attention.embed_dim // heads


def library_backbone(
    source: Source, model: nn.Module, tokenizer: LibraryTokenizer, precision: str, device: torch.device | str
) -> LibraryBackbone:
    """Returns open_clip's own model, frozen and in eval mode."""
    model.to(device).eval().requires_grad_(False)
    if precision in DTYPES:
        scale = model.logit_scale.detach().clone()
        model.to(DTYPES[precision])
        model.logit_scale.data = scale  # 100 has an error of 0.05 % in fp16
    text_config = source.config["text_cfg"]
    if hasattr(model, "text"):
        model.text_roots = ("text",)  # not the decoder of CoCa
    encode_text = partial(model.encode_text, normalize=False)
    causal = "hf_model_name" not in text_config and not text_config.get("no_causal_mask", False)
    text = LibraryText(model, encode_text, token_embedding(model), tokenizer, source.config["embed_dim"], causal)
    image = LibraryImage(model, partial(model.encode_image, normalize=False))
    backbone = OpenClipBackbone(source.name, "open_clip", model, image, text, source.preprocess)
    backbone.config = source.config
    if getattr(model, "logit_bias", None) is not None:
        backbone.logit_bias = float("nan") if model.logit_bias.is_meta else float(model.logit_bias)
    return backbone


def token_embedding(model: nn.Module) -> str:
    """Returns the name of the token embedding."""
    text = getattr(model, "text", model)
    if hasattr(text, "token_embedding"):
        found = text.token_embedding
    else:  # a model of transformers
        found = text.transformer.get_input_embeddings()
    return next(name for name, module in model.named_modules() if module is found)

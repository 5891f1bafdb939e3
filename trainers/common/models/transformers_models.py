"""Image-text models of the package transformers as backbones.

A name is a folder with config.json, or "transformers:" before such a folder or before a name on the Hugging Face hub.
Only weights are read: no code of a checkpoint is run.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import nn

from . import transformers_files as files
from . import transformers_inputs as inputs
from .library import LibraryBackbone, LibraryImage, LibraryText
from .loading import DTYPES
from .preprocess import Preprocess
from .transformers_features import feature_length, image_features, logit_bias, logit_scale, text_features
from .weights_digest import folder_hashes

EMBEDDINGS = ("token_embedding", "word_embeddings")
SIGLIP = Preprocess(None, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5), "bicubic", "squash")


@dataclass(frozen=True)
class Family:
    """What is known of a model class.

    Attributes:
        type: `model_type` in config.json.
        image, text: names of the modules of each encoder, with its projection.
        context: tokens of a prompt, at most; fewer if the model has fewer positions.
        causal: whether a token attends to its predecessors only. Such a model gets no mask: tokens after the pooled one
            have no effect.
        masked: whether padding is masked. Without a mask, as in SigLIP, the model attends to it.
        preprocess: how images are prepared if the folder does not say so.
        unused: parts of the encoders that the features do not depend on.
    """

    type: str
    image: tuple[str, ...] = ("vision_model", "visual_projection")
    text: tuple[str, ...] = ("text_model", "text_projection")
    context: int = 77
    causal: bool = False
    masked: bool = True
    preprocess: Preprocess = Preprocess(None)
    unused: tuple[str, ...] = ()


# The pooled token is the library's own: end of text in CLIP and MetaCLIP 2, the last one in SigLIP, else the first one.
# Contexts of models with a mask: those of their own code (AltCLIP: its teacher's). The cost of a step grows with them.
FAMILIES = {
    "CLIPModel": Family("clip", causal=True, masked=False),
    "MetaClip2Model": Family("metaclip_2", causal=True, masked=False),
    "SiglipModel": Family("siglip", context=64, masked=False, preprocess=SIGLIP),
    "Siglip2Model": Family("siglip2", context=64, masked=False, preprocess=inputs.bilinear(SIGLIP)),
    "AltCLIPModel": Family("altclip"),
    "ChineseCLIPModel": Family("chinese_clip", context=52, preprocess=inputs.squash(Preprocess(None))),
    "BlipForImageTextRetrieval": Family(
        "blip",
        image=("vision_model", "vision_proj"),
        text=("text_encoder", "text_proj"),
        context=35,
        preprocess=inputs.squash(Preprocess(None)),
        unused=("crossattention",),  # for the matching head
    ),
    "Blip2ForImageTextRetrieval": Family(
        "blip-2",
        image=("vision_model", "vision_projection"),
        text=("qformer", "embeddings", "text_projection"),
        context=32,
        preprocess=inputs.squash(Preprocess(None)),
        unused=("crossattention", "intermediate_query", "output_query"),  # of the Q-Former: used for images only
    ),
    "AlignModel": Family("align", context=64, preprocess=inputs.squash(SIGLIP), unused=("pooler",)),
}


class TransformersBackbone(LibraryBackbone):
    """A model of transformers.

    Attributes:
        folder: that of its checkpoint.
    """

    folder = ""

    def save(self, folder: str, state: dict[str, torch.Tensor]) -> None:
        """Writes the model with other weights to a folder, as a checkpoint with its tokenizer and image processor."""
        files.save_model(self.model, state, self.folder, folder)


def known() -> list[str]:
    """Returns what a name may be, with the supported classes."""
    return [f"transformers:FOLDER, transformers:ORGANISATION/NAME ({', '.join(FAMILIES)})"]


def features_per_image(name: str) -> int:
    """Returns the number of features of an image: of BLIP-2, one per query token. Raises as `preprocess`."""
    family, config = read_config(name, files.find_folder(name))
    return config.num_query_tokens if family.type == "blip-2" else 1


def preprocess(name: str) -> Preprocess:
    """Returns how the images of a backbone are prepared. Loads no weights.

    Raises:
        ValueError: the package is missing, or the model is not supported.
        FileNotFoundError: the name cannot be downloaded, or the folder has no config, weights or tokenizer.
    """
    folder = files.find_folder(name, weights=files.local_folder(name) is not None)
    family, config = read_config(name, folder)
    inputs.check_tokenizer(name, folder)
    return inputs.read_preprocess(folder, family.preprocess, input_size(family, config))


def load(name: str, precision: str = "fp32", device: torch.device | str = "cpu") -> TransformersBackbone:
    """Returns the frozen backbone, in eval mode. At "fp16" and "bf16", the whole model has that dtype.

    Raises:
        ValueError: as in `preprocess`; the weights or the tokenizer are corrupted, or do not fit the model.
        FileNotFoundError: as in `preprocess`.
    """
    folder = files.find_folder(name, weights=True)
    _, config = read_config(name, folder)
    hashes = folder_hashes(folder)
    model = files.read_model(name, folder, config)
    model.fingerprint, model.weights_digest = hashes["fingerprint"], hashes["weights_digest"]
    scale, bias = logit_scale(model).to(device), logit_bias(model)  # fp32 at every precision
    learned = getattr(model, "logit_scale", None)
    exact = None if learned is None else learned.detach().to(device, copy=True)
    model.to(device, DTYPES.get(precision, torch.float32))
    backbone = as_backbone(name, folder, model)
    if learned is None:
        backbone.scale = scale
    else:
        learned.data = exact  # 100 has an error of 0.05 % in fp16
    backbone.logit_bias = bias
    return backbone


def outline(name: str) -> TransformersBackbone:
    """Returns a backbone without weights, on the device "meta". Needs its config and its tokenizer."""
    folder = files.find_folder(name)
    _, config = read_config(name, folder)
    with torch.device("meta"):
        model = getattr(files.import_transformers(name), config.architectures[0])(config)
    backbone = as_backbone(name, folder, model)
    backbone.logit_bias = float("nan") if hasattr(model, "logit_bias") else None
    return backbone


def as_backbone(name: str, folder: str, model: nn.Module) -> TransformersBackbone:
    """Returns a model with its encoders, its tokenizer and the places of its towers."""
    family = FAMILIES[type(model).__name__]
    model.eval().requires_grad_(False)
    model.image_roots, model.text_roots, model.unused = family.image, family.text, family.unused
    embedding = token_embedding(model, family)
    vocabulary = model.get_submodule(embedding).num_embeddings
    tokenizer, pad_id = inputs.read_tokenizer(name, folder, context_length(family, model.config), vocabulary)

    def encode_text(tokens: torch.Tensor) -> torch.Tensor:
        return text_features(model, tokens, (tokens != pad_id).long() if family.masked else None)

    image_encoder = LibraryImage(model, lambda image: image_features(model, image))
    dim = feature_length(model)
    text_encoder = LibraryText(model, encode_text, embedding, tokenizer, dim, family.causal)
    how = inputs.read_preprocess(folder, family.preprocess, input_size(family, model.config))
    backbone = TransformersBackbone(name, "transformers", model, image_encoder, text_encoder, how)
    backbone.folder = folder
    return backbone


def read_config(name: str, folder: str):
    """Returns the family and the config of the model in a folder."""
    values = files.read_json(folder, "config.json")
    names = values.get("architectures") or [n for n, f in FAMILIES.items() if f.type == values.get("model_type")]
    architecture = str(names[0] if isinstance(names, list) and names else values.get("model_type"))
    family = FAMILIES.get(architecture)
    if family is None or values.get("model_type") != family.type:
        raise ValueError(
            f"MODEL.BACKBONE.NAME {name} is a {architecture}, which is not supported: it must be one of "
            + ", ".join(FAMILIES)
        )
    model_class = getattr(files.import_transformers(name), architecture, None)
    if model_class is None:
        raise ValueError(f"MODEL.BACKBONE.NAME {name} needs a newer transformers, with the class {architecture}")
    try:
        with files.quiet(files.import_transformers(name)):
            config = model_class.config_class.from_dict(values)
    except Exception as error:  # transformers raises errors of many kinds
        raise ValueError(f"cannot read {folder}/config.json: {files.reason(error)}") from error
    config.architectures = [architecture]
    config._attn_implementation = None  # the folder does not choose code of the hub for it
    return family, config


def input_size(family: Family, config) -> int | None:
    """Returns the side of the images in pixels; None if the model takes any."""
    vision = config.vision_config
    if family.type == "align":
        return None
    if family.type == "siglip2":  # takes patches of any aspect ratio; here a square, without resized positions
        return math.isqrt(vision.num_patches) * vision.patch_size
    return vision.image_size


def context_length(family: Family, config) -> int:
    """Returns the number of tokens of a prompt, special ones included."""
    text = config.qformer_config if family.type == "blip-2" else config.text_config
    positions = text.max_position_embeddings
    if family.type == "altclip":
        positions -= text.pad_token_id + 1  # numbered from there, as in RoBERTa
    return min(family.context, positions)


def token_embedding(model: nn.Module, family: Family) -> str:
    """Returns the name of the token embedding."""
    names = [name for name, _ in model.named_modules() if name.startswith(family.text) and name.endswith(EMBEDDINGS)]
    return names[0]

"""Reads how a checkpoint of transformers prepares its inputs: its image processor and its tokenizer."""

from __future__ import annotations

import os
from dataclasses import replace

from .preprocess import Preprocess, note
from .tokenizers import LibraryTokenizer
from .transformers_files import TOKENIZER_FILES, read_json, reason

INTERPOLATIONS = {0: "nearest", 2: "bilinear", 3: "bicubic"}  # numbers of Pillow


def squash(preprocess: Preprocess) -> Preprocess:
    return replace(preprocess, resize_mode="squash")


def bilinear(preprocess: Preprocess) -> Preprocess:
    return replace(preprocess, interpolation="bilinear")


def read_preprocess(folder: str, default: Preprocess, size: int | None) -> Preprocess:
    """Returns how the image processor of a folder prepares images.

    Args:
        default: used for what the folder does not say.
        size: side of the images that the model takes; None: the image processor says it.
    """
    values = read_json(folder, "preprocessor_config.json") or read_json(folder, "processor_config.json")
    if not values:
        note(f"{folder} has no preprocessor_config.json: images are prepared as is usual for this model")
    try:
        return _preprocess(folder, values.get("image_processor", values), default, size)
    except (AttributeError, TypeError, ValueError, ZeroDivisionError) as error:
        raise ValueError(f"cannot use the image processor of {folder}: {reason(error)}") from error


def _preprocess(folder: str, values: dict, default: Preprocess, size: int | None) -> Preprocess:
    resized, mode = _resize(values, default.resize_mode)
    cropped = _side(values.get("crop_size")) if _crops(values, mode) else None
    side = size or cropped or resized or 289  # ALIGN's
    for given in (resized, cropped):
        if given not in (None, side):
            note(f"the image processor of {folder} has size {given}, images are resized to {side} at once")
    mean, std = _statistics(values, default)
    interpolation = default.interpolation
    if "resample" in values:
        interpolation = INTERPOLATIONS.get(values["resample"])
        if interpolation is None:
            interpolation = "bicubic"
            note(f"the image processor of {folder} has resample {values['resample']}, images are resized with bicubic")
    return Preprocess(side, mean, std, interpolation, mode)


def _resize(values: dict, mode: str) -> tuple[int | None, str]:
    """Returns the side that images are resized to, or None, and how.

    Example: {"shortest_edge": 224} -> 224, "shortest"; {"height": 384, "width": 384} -> 384, "squash".
    """
    size = values.get("size")
    if isinstance(size, dict) and "shortest_edge" in size:
        mode = "shortest"
    elif isinstance(size, dict) and "height" in size:
        mode = "squash"
    elif values.get("do_center_crop"):
        mode = "shortest"
    return _side(size), mode


def _crops(values: dict, mode: str) -> bool:
    return values.get("do_center_crop", mode == "shortest")


def _side(size) -> int | None:
    """Returns the side of {"height": 224, "width": 224}, {"shortest_edge": 224}, or 224."""
    if isinstance(size, dict):
        size = size.get("shortest_edge", size.get("height"))
    return size if isinstance(size, int) else None


def _statistics(values: dict, default: Preprocess) -> tuple[tuple, tuple]:
    """Returns mean and std of pixels in [0, 1].

    A processor computes (a x - b - mean) / std for x in [0, 1], which is (x - (b + mean) / a) / (std / a).
    """
    if not {"image_mean", "image_std", "do_normalize", "rescale_factor", "rescale_offset"} & values.keys():
        return default.mean, default.std
    a = 255 * values.get("rescale_factor", 1 / 255)
    b = 1 if values.get("rescale_offset") else 0
    normalises = values.get("do_normalize", True)
    means = values.get("image_mean") or default.mean if normalises else (0, 0, 0)
    stds = values.get("image_std") or default.std if normalises else (1, 1, 1)
    if len(means) != 3 or len(stds) != 3 or 0 in stds:
        raise ValueError(f"mean {means}, std {stds}")
    return tuple(round((b + m) / a, 8) for m in means), tuple(round(s / a, 8) for s in stds)


def check_tokenizer(name: str, folder: str) -> None:
    """Raises FileNotFoundError if the folder has no tokenizer."""
    if not any(os.path.isfile(os.path.join(folder, file)) for file in TOKENIZER_FILES):
        raise FileNotFoundError(
            f"MODEL.BACKBONE.NAME {name}: {folder} has no tokenizer: put tokenizer.json and tokenizer_config.json there"
        )


def read_tokenizer(name: str, folder: str, context: int, vocabulary: int) -> tuple[LibraryTokenizer, int]:
    """Returns the tokenizer of a folder, and the id of its padding.

    Args:
        context: tokens of a tokenized prompt.
        vocabulary: number of token embeddings of the model.
    """
    check_tokenizer(name, folder)
    import transformers

    try:
        own = transformers.AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    except Exception as error:  # of many kinds, also a missing package
        raise ValueError(f"cannot read the tokenizer in {folder}: {reason(error)}") from error
    if own.pad_token_id is None:
        raise ValueError(f"the tokenizer in {folder} has no padding token")
    own.padding_side = "right"

    def tokenize(prompts: list[str]):
        options = {"padding": "max_length", "truncation": True, "max_length": context, "return_tensors": "pt"}
        tokens = own(prompts, **options)["input_ids"]
        if tokens.max() >= vocabulary:
            raise ValueError(
                f"the tokenizer in {folder} does not fit the model, which has {vocabulary} tokens: it makes "
                f"{tokens.max().item()}"
            )
        return tokens

    def ids(text: str) -> list[int]:
        return own(text, add_special_tokens=False)["input_ids"]

    word, whole = ids("X"), own("X")["input_ids"]  # whole: special tokens, the word, special tokens
    start = next((i for i in range(len(whole)) if whole[i : i + len(word)] == word), None)
    if not word or start is None:
        raise ValueError(
            f"the tokenizer in {folder} cannot be used: it makes {whole} of 'X' and {word} without special ones"
        )
    tokenizer = LibraryTokenizer(tokenize, ids, context, start, len(whole) - start - len(word), filler=word[0])
    return tokenizer, own.pad_token_id

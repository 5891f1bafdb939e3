"""Names of open_clip's models: the architecture, preprocessing and weights that each stands for. Loads no weights.

open_clip:ARCHITECTURE/TAG     weights that open_clip knows for this architecture
open_clip:ARCHITECTURE/FILE    a local file with weights of it
hf-hub:ORGANISATION/NAME       a repository of the Hugging Face hub with open_clip_config.json
FOLDER                         a folder with open_clip_config.json and one file with weights
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from .backbone_files import similar
from .preprocess import Preprocess, note
from .weights_digest import weight_files

REQUIREMENT = "open_clip_torch>=2.24,<4"  # as in requirements-optional.txt
CONFIG = "open_clip_config.json"
WEIGHTS = ("open_clip_model.safetensors", "open_clip_pytorch_model.safetensors", "open_clip_pytorch_model.bin")
KEY = "MODEL.BACKBONE.NAME"
INTERPOLATIONS = ("bicubic", "bilinear", "nearest")


@dataclass(frozen=True)
class Source:
    """What a name stands for.

    Attributes:
        name: MODEL.BACKBONE.NAME.
        model: open_clip's name of the model, from which it finds the tokenizer.
        config: open_clip's config of the model: embed_dim, vision_cfg, text_cfg, ...
        preprocess: how images become its input.
        folder: the folder that the name is; "" for another name.
        find_weights: returns the path of the weights; downloads them if necessary. Raises FileNotFoundError.
    """

    name: str
    model: str
    config: dict
    preprocess: Preprocess
    find_weights: Callable[[], str]
    folder: str = ""


def find_source(name: str) -> Source:
    """Returns what a name stands for. Of the hub, downloads the config only.

    Raises:
        ValueError: open_clip is not installed, or the name, its tag or its config is invalid.
        FileNotFoundError: the config cannot be downloaded.
    """
    try:
        import open_clip  # noqa: F401
    except ImportError as error:
        raise ValueError(f'{KEY} {name} needs {error.name or "open_clip"}: pip install "{REQUIREMENT}"') from error
    scheme, _, rest = name.partition(":")
    if scheme == "open_clip":
        return _of_open_clip(name, rest)
    if scheme == "hf-hub":
        return _of_hub(name, rest)
    return _of_folder(name)


def _of_open_clip(name: str, rest: str) -> Source:
    import open_clip

    architecture, _, weights = rest.partition("/")
    if architecture not in open_clip.list_models():
        hint = similar(architecture, open_clip.list_models(), 3)
        if os.path.isdir(os.path.expanduser(rest)):
            hint = f": for a folder with {CONFIG}, set {KEY} to {rest}, without prefix"
        raise ValueError(f"{KEY}: open_clip {open_clip.__version__} has no architecture {architecture!r}{hint}")
    tags = open_clip.list_pretrained_tags_by_model(architecture)
    config = open_clip.get_model_config(architecture)
    tags = [tag for tag in tags if fits(open_clip.get_pretrained_cfg(architecture, tag), config)]
    if not weights:
        known = f"; its tags are {', '.join(tags)}" if tags else ""
        raise ValueError(f"{KEY} must be open_clip:{architecture}/TAG or open_clip:{architecture}/FILE{known}")
    entry = open_clip.get_pretrained_cfg(architecture, weights)
    if entry:
        _check_activation(architecture, weights, entry, config)
        return Source(name, architecture, config, _preprocess(name, config, entry), partial(_download, name, entry))
    path = os.path.expanduser(weights)
    if not os.path.isfile(path):
        raise _unknown_tag(architecture, weights, tags)
    return Source(name, architecture, config, _preprocess_of_file(name, architecture, config), lambda: path)


def _unknown_tag(architecture: str, tag: str, tags: list[str]) -> ValueError:
    import open_clip

    hint = similar(tag, tags, 3)
    others = open_clip.list_pretrained_models_by_tag(tag)
    if others:
        hint += f"; architectures with this tag: {', '.join(others)}"
    elif tags and not hint:
        hint = f"; its tags are {', '.join(tags)}"
    return ValueError(f"{KEY}: {tag!r} is neither a tag of {architecture} nor a file{hint}")


def fits(entry: dict, config: dict) -> bool:
    """Whether an architecture has the activation that the weights of a tag were trained with.

    GELU weights in an architecture with QuickGELU cannot happen: open_clip lists for "...-quickgelu" only tags with
    QuickGELU. One architecture whose name does not tell (roberta-ViT-B-32) has QuickGELU by its config.
    """
    return bool(config.get("quick_gelu")) or not entry.get("quick_gelu")


def _check_activation(architecture: str, tag: str, entry: dict, config: dict) -> None:
    """Raises ValueError unless the activation `fits`."""
    if fits(entry, config):
        return
    raise ValueError(
        f"{KEY}: the weights {tag} of {architecture} were trained with QuickGELU, but this architecture has GELU: "
        f"use open_clip:{architecture}-quickgelu/{tag}"
    )


def _preprocess(name: str, config: dict, entry: dict) -> Preprocess:
    """Returns the preprocessing in the entry of a tag, or in "preprocess_cfg". Defaults are open_clip's: OpenAI's."""
    size = config["vision_cfg"].get("image_size", 224)
    if isinstance(size, (list, tuple)):
        if len(set(size)) != 1:
            raise ValueError(f"{KEY} {name} takes images of {tuple(size)} pixels: only square images are supported")
        size = size[0]
    default = Preprocess()
    return Preprocess(
        size,
        tuple(entry.get("mean", default.mean)),
        tuple(entry.get("std", default.std)),
        entry.get("interpolation", default.interpolation),
        entry.get("resize_mode", default.resize_mode),
    )


def _preprocess_of_file(name: str, architecture: str, config: dict) -> Preprocess:
    """Returns the preprocessing that all tags of an architecture share; OpenAI's if they differ."""
    import open_clip

    tags = open_clip.list_pretrained_tags_by_model(architecture)
    known = {_preprocess(name, config, open_clip.get_pretrained_cfg(architecture, tag)) for tag in tags}
    if len(known) == 1:
        return known.pop()
    if known:
        note(
            f"weights of {architecture} differ in the statistics of their images. For {name} OpenAI's are used; "
            "set INPUT.PIXEL_MEAN and INPUT.PIXEL_STD if it was trained with others"
        )
    return _preprocess(name, config, {})


def _of_hub(name: str, repository: str) -> Source:
    folder = f"put {CONFIG}, the weights and the tokenizer of that repository into a folder, and set {KEY} to it"
    path = _fetch(name, "config", folder, repository, CONFIG)
    config, entry = read_config(path)
    find = partial(_fetch, name, "weights", folder, repository)
    return Source(name, name, config, _preprocess(name, config, entry), find)


def _fetch(name: str, what: str, remedy: str, repository: str, filename: str | None = None) -> str:
    from open_clip.pretrained import download_pretrained_from_hf

    try:
        return download_pretrained_from_hf(repository, filename=filename)
    except (OSError, RuntimeError, ValueError) as error:
        raise _download_failed(name, what, error, remedy) from error


def _download(name: str, entry: dict) -> str:
    import open_clip

    architecture = name.partition(":")[2].partition("/")[0]
    try:
        return open_clip.download_pretrained(entry)
    except (OSError, RuntimeError, ValueError) as error:
        origin = f"https://huggingface.co/{entry['hf_hub']}" if entry.get("hf_hub") else entry.get("url")
        remedy = f"get them from {origin}, and set {KEY} to open_clip:{architecture}/ and the path of the file"
        raise _download_failed(name, "weights", error, remedy) from error


def _download_failed(name: str, what: str, error: Exception, remedy: str) -> FileNotFoundError:
    reason = " ".join(str(error).split())[:200]
    return FileNotFoundError(f"cannot download the {what} of {name} ({reason}): {remedy}")


def _of_folder(name: str) -> Source:
    folder = os.path.expanduser(name)
    config, entry = read_config(os.path.join(folder, CONFIG))
    path = _weights_in(folder)
    return Source(name, f"local-dir:{folder}", config, _preprocess(name, config, entry), lambda: path, folder)


def read_config(path: str) -> tuple[dict, dict]:
    """Returns the config of the model and its preprocessing, from the file that open_clip writes.

    Raises:
        ValueError: the file has other content.
    """
    try:
        with open(path, encoding="utf-8") as file:
            content = json.load(file)
        model, entry = content["model_cfg"], content.get("preprocess_cfg") or {}
        if not (isinstance(model["embed_dim"], int) and dict(model["vision_cfg"]) and dict(model["text_cfg"])):
            raise ValueError("model_cfg is incomplete")
        _check_preprocess(entry)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"{path} is no config of open_clip with model_cfg and preprocess_cfg ({reason})") from error
    return model, entry


def _check_preprocess(entry: dict) -> None:
    """Raises ValueError or TypeError unless mean, std and interpolation in "preprocess_cfg" can be used."""
    for key in ("mean", "std"):
        values = entry.get(key, Preprocess().mean)
        if len(values) != 3 or not all(isinstance(v, (int, float)) for v in values) or (key == "std" and 0 in values):
            raise ValueError(f"{key} must be three numbers, of std not 0, got {values}")
    interpolation = entry.get("interpolation", INTERPOLATIONS[0])
    if interpolation not in INTERPOLATIONS:
        raise ValueError(f"interpolation must be one of {', '.join(INTERPOLATIONS)}, got {interpolation!r}")


def _weights_in(folder: str) -> str:
    """Returns the path of the weights in a folder: a file with a name that open_clip uses, or the only one."""
    files = weight_files(folder)
    found = [name for name in WEIGHTS if name in files] or files
    if not found or (len(found) > 1 and found[0] not in WEIGHTS):
        kind = "several files" if found else "no file"
        raise ValueError(f"{KEY}: {folder} has {kind} with weights: name one of them {WEIGHTS[0]} or {WEIGHTS[-1]}")
    return os.path.join(folder, found[0])

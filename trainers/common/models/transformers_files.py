"""Finds the folder of a checkpoint of transformers, and reads its config and weights. Runs no code of a checkpoint."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil

import torch
from torch import nn

from .weights_digest import weight_files

PREFIX = "transformers:"
HUB_NAME = re.compile(r"[\w.-]+/[\w.-]+")
REQUIREMENT = "transformers>=4.45,<6"
TOKENIZER_FILES = (
    "tokenizer.json", "vocab.json", "vocab.txt", "spiece.model", "sentencepiece.bpe.model", "tokenizer.model",
)  # fmt: skip
INPUT_FILES = (
    *TOKENIZER_FILES, "merges.txt", "tokenizer_config.json", "special_tokens_map.json", "added_tokens.json",
    "preprocessor_config.json", "processor_config.json",
)  # fmt: skip
WRAPPED = re.compile(r"^(?:(?:module|_orig_mod|model|clip)\.)+")  # of DataParallel, torch.compile, ...
POSITIONS = ("position_ids", "token_type_ids")  # buffers of earlier versions, which hold no weights


def reason(error: BaseException) -> str:
    """Returns the message of another library's error as one short line."""
    return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"


def local_folder(name: str) -> str | None:
    """Returns the folder that the name of a backbone stands for; None for a name on the hub."""
    path = os.path.expanduser(name[len(PREFIX) :] if name.startswith(PREFIX) else name)
    return path if os.path.isdir(path) else None


def find_folder(name: str, weights: bool = False) -> str:
    """Returns the folder of a checkpoint. Downloads a name on the hub: its configs and tokenizer, or its weights too.

    Raises:
        ValueError: the name is neither a folder nor a name on the hub, or the folder holds something else.
        FileNotFoundError: the download failed, or the folder has no config.json, or no weights if `weights`.
    """
    folder = local_folder(name) or _download(name, weights)
    if not os.path.isfile(os.path.join(folder, "config.json")):
        raise FileNotFoundError(f"MODEL.BACKBONE.NAME {name}: {folder} has no config.json")
    if os.path.isfile(os.path.join(folder, "adapter_config.json")):
        raise ValueError(f"MODEL.BACKBONE.NAME {name} is an adapter of another model: merge it into its model first")
    if weights and not weight_files(folder):
        raise FileNotFoundError(
            f"MODEL.BACKBONE.NAME {name}: {folder} has no weights: put model.safetensors (or pytorch_model.bin) there"
        )
    return folder


def _download(name: str, weights: bool) -> str:
    hub_name = name[len(PREFIX) :]
    if not HUB_NAME.fullmatch(hub_name):
        raise ValueError(f"MODEL.BACKBONE.NAME {name} must be a folder, or {PREFIX}ORGANISATION/NAME on the hub")
    import_transformers(name)  # brings huggingface_hub
    import huggingface_hub

    patterns = ["*.json", "*.txt", "*.model"]
    try:
        if not weights:
            return huggingface_hub.snapshot_download(hub_name, allow_patterns=patterns)
        folder = huggingface_hub.snapshot_download(hub_name, allow_patterns=[*patterns, "model*.safetensors"])
        if not weight_files(folder):
            folder = huggingface_hub.snapshot_download(hub_name, allow_patterns=[*patterns, "pytorch_model*.bin"])
        return folder
    except Exception as error:  # of the hub, of the connection, of the disk
        raise FileNotFoundError(
            f"cannot download {hub_name} from the Hugging Face hub ({reason(error)}): where there is a connection, run "
            f"hf download {hub_name} --local-dir FOLDER, and pass --backbone FOLDER"
        ) from error


def read_json(folder: str, file: str) -> dict:
    """Returns a JSON file of the folder; {} if it is not there."""
    path = os.path.join(folder, file)
    if not os.path.isfile(path):
        return {}
    try:
        with open(path, encoding="utf-8") as stream:
            values = json.load(stream)
    except ValueError as error:
        raise ValueError(f"cannot read {path}: {reason(error)}") from error
    if not isinstance(values, dict):
        raise ValueError(f"cannot read {path}: it holds a {type(values).__name__} instead of an object")
    return values


def import_transformers(name: str):
    try:
        import transformers
    except ModuleNotFoundError as error:
        raise ValueError(
            f'MODEL.BACKBONE.NAME {name} needs the package {error.name}: pip install "{REQUIREMENT}"'
        ) from error
    return transformers


def save_model(model: nn.Module, state: dict[str, torch.Tensor], source: str, folder: str) -> None:
    """Writes a checkpoint with the weights `state`, by the names of the model, and the other files of `source`."""
    import transformers

    with quiet(transformers):
        model.save_pretrained(folder, state_dict=state, max_shard_size="1000GB")
    for file in INPUT_FILES:
        if os.path.isfile(os.path.join(source, file)):
            shutil.copyfile(os.path.join(source, file), os.path.join(folder, file))


def read_model(name: str, folder: str, config) -> nn.Module:
    """Returns the model with all of its weights, fp32."""
    transformers = import_transformers(name)
    model_class = getattr(transformers, config.architectures[0])
    options = {"local_files_only": True, "output_loading_info": True, "ignore_mismatched_sizes": True}
    try:
        with quiet(transformers):
            model, info = model_class.from_pretrained(folder, config=config, trust_remote_code=False, **options)
            if any(WRAPPED.match(name) for name in info["unexpected_keys"]):  # prefixes that training left
                options["key_mapping"] = {WRAPPED.pattern: ""}
                model, info = model_class.from_pretrained(folder, config=config, trust_remote_code=False, **options)
    except Exception as error:  # a corrupted file can raise anything
        raise ValueError(f"cannot read the weights in {folder}: {reason(error)}; restore a copy") from error
    found = {"missing": info["missing_keys"], "unexpected": info["unexpected_keys"]}
    found["with another shape"] = [entry[0] for entry in info["mismatched_keys"]]
    lists = []
    for kind, names in found.items():
        names = sorted(n for n in names if not n.endswith(POSITIONS))
        if names:
            lists.append(f"{len(names)} tensors {kind} ({', '.join(names[:3])}{', ...' if len(names) > 3 else ''})")
    if lists:
        raise ValueError(f"the weights in {folder} do not fit a {config.architectures[0]}: {'; '.join(lists)}")
    return model.float()


@contextlib.contextmanager
def quiet(transformers):
    """Hides the progress bar and the warnings of transformers. What they say is checked."""
    logging = transformers.utils.logging
    level, bar = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bar:
            logging.enable_progress_bar()

"""Reads the tuned weights of a finished run, wherever they are in its directory."""

from __future__ import annotations

import os

from . import checkpoint, known_plugins, record, tuned_weights
from .checkpoint_file import BEST, POINTER
from .nearby import hint

REQUIRED_META = {"trainer", "backbone", "fingerprint", "template", "classnames", "tune"}  # see record.identity
CHECKPOINT_FILES = (POINTER, BEST, tuned_weights.NAME)  # a folder with one of these has checkpoints or tuned weights


def read_run(path: str | os.PathLike, epoch: int | None = None) -> tuple[dict, str]:
    """Returns the tuned weights of a run with their metadata (see `checkpoint.tuned_state`), and their file.

    Args:
        path: a run directory, its folder of checkpoints, a checkpoint or a tuned.safetensors.
        epoch: epoch of the checkpoint in a folder; default: the best on validation images, else the newest.

    Raises:
        FileNotFoundError: no checkpoint at `path`.
        ValueError: the checkpoint is corrupted, or `path` is ambiguous.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(
            f"no run at {path}: give a run directory, a checkpoint or a {tuned_weights.NAME}{hint(path)}"
        )
    if os.path.isfile(path):
        if epoch is not None:
            raise ValueError(f"epoch {epoch} needs a run directory, got the file {path}")
        return _check_meta(checkpoint.read(path), path), path
    candidates = [path, *(os.path.join(path, name) for name in sorted(os.listdir(path)))]
    folders = [folder for folder in candidates if _has_checkpoints(folder)]
    if len(folders) > 1:
        raise ValueError(f"{path} has the checkpoints of several models; give one of {', '.join(folders)}")
    if not folders:
        return _untuned(path), path
    file = checkpoint.find(folders[0], epoch)
    return _check_meta(checkpoint.read(file), file), file


def _has_checkpoints(folder: str) -> bool:
    return any(os.path.isfile(os.path.join(folder, name)) for name in CHECKPOINT_FILES)


def _check_meta(state: dict, path: str) -> dict:
    """Returns `state`. Raises ValueError if its metadata is missing, and imports the plugins it needs."""
    meta = state.get("meta")
    settings = state.get("settings")
    if not isinstance(meta, dict) or not isinstance(settings, dict) or not REQUIRED_META <= meta.keys():
        raise ValueError(
            f"{path} has no method, backbone and class names, because another program wrote it: evaluate it with "
            "train.py --eval-only --model-dir, or convert it with tools/convert_checkpoint.py"
        )
    known_plugins.require(meta.get("plugins"))
    return state


def _untuned(folder: str) -> dict:
    """Returns the state of a run without tuned weights (zero-shot CLIP), from its run record."""
    result = record.read(os.path.join(folder, record.FILE)) or {}
    if not result.get("identity") or not result.get("settings"):
        raise FileNotFoundError(
            f"no checkpoint and no {tuned_weights.NAME} in {folder}: give the run directory of a trained run"
            f"{hint(folder)}"
        )
    if result.get("source"):
        raise ValueError(
            f"{folder} is an evaluation of the run in {result['source'].get('model_dir')}: give that folder"
        )
    known_plugins.require(result["identity"].get("plugins"))
    return {"state_dict": {}, "epoch": None, "meta": result["identity"], "settings": result["settings"]}

"""Reads a finished run: its tuned weights, its config, and its trainer without data."""

from __future__ import annotations

import importlib
import os
from types import SimpleNamespace

import torch

from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY

from .. import prompt_ensemble
from ..models.backbone import Backbone
from ..models.backbones import check_named_by
from ..runs import checkpoint, known_plugins, record, tuned_weights
from ..runs.checkpoint_file import BEST, POINTER

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
        raise FileNotFoundError(f"no run at {path}: give a run directory, a checkpoint or a {tuned_weights.NAME}")
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
        )
    if result.get("source"):
        raise ValueError(
            f"{folder} is an evaluation of the run in {result['source'].get('model_dir')}: give that folder"
        )
    known_plugins.require(result["identity"].get("plugins"))
    return {"state_dict": {}, "epoch": None, "meta": result["identity"], "settings": result["settings"]}


def find_method(name: str) -> type:
    """Returns the trainer class registered under `name`."""
    from ..trainer import ClipTrainer

    if name not in TRAINER_REGISTRY.registered_names():
        register_methods()
    method = TRAINER_REGISTRY.get(name) if name in TRAINER_REGISTRY.registered_names() else None
    if method is None or not issubclass(method, ClipTrainer):
        raise ValueError(f"method {name!r} is unknown or not a ClipTrainer: evaluate it with its own train.py")
    return method


def register_methods() -> None:
    """Imports the methods: all methods of this repository; in a CoOp checkout, only CLIPFit."""
    package = __package__.partition(".")[0]
    register_all = getattr(importlib.import_module(package), "register_all", None)
    if register_all:
        register_all()
    else:
        importlib.import_module(f"{package}.clipfit")


def make_cfg(state: dict, changes: dict | None = None):
    """Returns the config of the run of `state`, updated with the non-empty `changes` (dotted key -> value).

    Paths and test options have their defaults.

    Raises:
        ValueError: the method has a setting that is unknown to this version, or the path of the backbone that the run
            names does not hold the weights of the run.
    """
    cfg = get_cfg_default()
    if not (changes or {}).get("MODEL.BACKBONE.NAME"):
        check_named_by(state["meta"])
    settings = {**state["settings"], "MODEL.BACKBONE.NAME": state["meta"]["backbone"], "MODEL.INIT_WEIGHTS": ""}
    settings["MODEL.BACKBONE.PREPROCESS"] = False  # the run's INPUT keys are those that it was trained with
    if state["meta"].get("descriptions"):
        prompt_ensemble.remember(state["meta"]["descriptions"])
    settings.update({key: value for key, value in (changes or {}).items() if value not in ("", None)})
    for key, value in settings.items():
        *path, leaf = key.split(".")
        node = cfg
        for part in path:
            node = node.get(part, {})
        if leaf in node:
            node[leaf] = tuple(value) if isinstance(node[leaf], tuple) else value
        elif path and path[0] == "TRAINER":  # other unknown keys are training options of another Dassl
            raise ValueError(f"the run has the setting {key} {value!r}, which is unknown to this version of the code")
    cfg.freeze()
    return cfg


def make_bare(cfg, classnames: list[str], device: torch.device | None = None, backbone: Backbone | None = None):
    """Builds the trainer `cfg.TRAINER.NAME` with class names but without data.

    Args:
        device: default: CUDA if available.
        backbone: the frozen backbone of the config, if it is loaded already.
    """
    method = find_method(cfg.TRAINER.NAME)

    class Bare(method):
        @staticmethod
        def complete_cfg(cfg):
            if backbone is None:
                method.complete_cfg(cfg)

        def build_data_loader(self):
            self.device = device or self.device
            self.dm = SimpleNamespace(dataset=SimpleNamespace(classnames=classnames, train_x=[]))
            self.num_classes = len(classnames)
            self.lab2cname = dict(enumerate(classnames))

        def make_backbone(self):
            return super().make_backbone() if backbone is None else backbone

        def make_optimizer(self):
            return None, None

    return Bare(cfg)

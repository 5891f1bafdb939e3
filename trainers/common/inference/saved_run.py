"""A run, read back: what it tuned, its config, and its method's trainer without any data."""

from __future__ import annotations

import importlib
import os
from types import SimpleNamespace

import torch
from torch import nn

from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY

from ..runs import checkpoint, known_plugins, record, tuned_weights
from ..runs.checkpoint_file import BEST, POINTER

NEEDED = {"trainer", "backbone", "fingerprint", "template", "classnames", "tune"}  # see record.identity
MARKS = (POINTER, BEST, tuned_weights.NAME)  # a folder with one of these holds what a run tuned


def read_run(path: str | os.PathLike, epoch: int | None = None) -> tuple[dict, str]:
    """What a run tuned and what it fits (see `checkpoint.tuned_state`), and the file that this was read from.

    Args:
        path: a run's OUTPUT_DIR, the folder of its checkpoints, a checkpoint or a tuned.safetensors.
        epoch: of a folder, the checkpoint of this epoch; default: the best on validation data, else the newest.

    Raises:
        FileNotFoundError, ValueError: nothing is there, or it cannot be read.
    """
    path = os.fspath(path)
    if not os.path.exists(path):
        raise FileNotFoundError(f"no run at {path}: give a run's output folder, a checkpoint or a {tuned_weights.NAME}")
    if os.path.isfile(path):
        if epoch is not None:
            raise ValueError(f"epoch {epoch} of what? {path} is a single file; give the run's output folder")
        return _identified(checkpoint.read(path), path), path
    inside = [os.path.join(path, name) for name in sorted(os.listdir(path))]
    folders = [folder for folder in (path, *inside) if any(os.path.isfile(os.path.join(folder, m)) for m in MARKS)]
    if len(folders) > 1:
        raise ValueError(f"{path} holds what several methods tuned; give one: {', '.join(folders)}")
    if not folders:
        return _untuned(path), path
    file = checkpoint.find(folders[0], epoch)
    return _identified(checkpoint.read(file), file), file


def _identified(state: dict, path: str) -> dict:
    meta, settings = state.get("meta"), state.get("settings")
    if not isinstance(meta, dict) or not isinstance(settings, dict) or not NEEDED <= meta.keys():
        raise ValueError(
            f"{path} does not say which method, backbone and classes it was tuned for, because another program wrote "
            "it; evaluate it with train.py --eval-only --model-dir, or convert it with tools/convert_checkpoint.py"
        )
    known_plugins.find_again(meta.get("plugins"))
    return state


def _untuned(folder: str) -> dict:
    """What is known of a run of a method that tunes nothing, from its record."""
    result = record.read(os.path.join(folder, record.FILE)) or {}
    if not result.get("identity") or not result.get("settings"):
        raise FileNotFoundError(
            f"no checkpoint and no {tuned_weights.NAME} in {folder}: give the output folder of a run that was trained"
        )
    if result.get("source"):
        raise ValueError(
            f"{folder} is an evaluation of the run in {result['source'].get('model_dir')}: give that folder"
        )
    known_plugins.find_again(result["identity"].get("plugins"))
    return {"state_dict": {}, "epoch": None, "meta": result["identity"], "settings": result["settings"]}


def find_method(name: str) -> type:
    """The trainer class registered under `name`."""
    from ..trainer import ClipTrainer

    if name not in TRAINER_REGISTRY.registered_names():
        register_methods()
    method = TRAINER_REGISTRY.get(name) if name in TRAINER_REGISTRY.registered_names() else None
    if method is None or not issubclass(method, ClipTrainer):
        raise ValueError(f"the method {name!r} is not one of this program's: it cannot be used without its train.py")
    return method


def register_methods() -> None:
    """Import the methods: all of this repository; in a CoOp checkout, whose train.py may not have done so, CLIPFit."""
    package = __package__.partition(".")[0]
    register_all = getattr(importlib.import_module(package), "register_all", None)
    if register_all:
        register_all()
    else:
        importlib.import_module(f"{package}.clipfit")


def make_cfg(state: dict, changes: dict | None = None):
    """The config of the run that `state` comes from, with the `changes` (dotted key -> value) that are not empty.

    Keys that say where files lie or how it is tested have their defaults.

    Raises:
        ValueError: the method has a setting that this version does not know.
    """
    cfg = get_cfg_default()
    settings = {**state["settings"], "MODEL.BACKBONE.NAME": state["meta"]["backbone"], "MODEL.INIT_WEIGHTS": ""}
    settings.update({key: value for key, value in (changes or {}).items() if value not in ("", None)})
    for key, value in settings.items():
        *path, leaf = key.split(".")
        node = cfg
        for part in path:
            node = node.get(part, {})
        if leaf in node:
            node[leaf] = tuple(value) if isinstance(node[leaf], tuple) else value
        elif path and path[0] == "TRAINER":  # others are training's, of another Dassl
            raise ValueError(f"the run has the setting {key} {value!r}, unknown to this version of the code")
    cfg.freeze()
    return cfg


def make_bare(cfg, classnames: list[str], device: torch.device | None = None, clip_model: nn.Module | None = None):
    """The trainer of `cfg.TRAINER.NAME` without data: the names of the classes are all that it knows of them.

    Args:
        device: default: CUDA where there is one.
        clip_model: the frozen CLIP where it is loaded already; it must be the config's.
    """
    method = find_method(cfg.TRAINER.NAME)

    class Bare(method):
        def build_data_loader(self):
            self.device = device or self.device
            self.dm = SimpleNamespace(dataset=SimpleNamespace(classnames=classnames, train_x=[]))
            self.num_classes, self.lab2cname = len(classnames), dict(enumerate(classnames))

        def make_clip(self):
            return super().make_clip() if clip_model is None else clip_model

        def make_optimizer(self):
            return None, None

    return Bare(cfg)

"""The config of a finished run, and its trainer without data."""

from __future__ import annotations

import importlib
from types import SimpleNamespace

import torch

from dassl.config import get_cfg_default
from dassl.engine import TRAINER_REGISTRY

from .. import prompt_ensemble
from ..models.backbone import Backbone
from ..models.backbones import check_named_by


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
    package = __package__.partition(".common")[0]
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

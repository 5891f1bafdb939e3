"""The estimators by name: one class per method, made from its config keys, and those in saved folders."""

from __future__ import annotations

import functools
import inspect
import json
import keyword
import os
from pathlib import Path

import numpy as np

from . import checkout
from .estimator import FILE, Classifier


def load(path, device=None) -> Classifier:
    """Returns the fitted estimator of a folder that `save` wrote, or of a run of the programs.

    An estimator of a run has the method, backbone, shots and prompt of the run as its parameters, and no others.

    Args:
        device: e.g. "cpu" or "cuda:1"; None: CUDA if available.

    Raises:
        FileNotFoundError, ValueError: there is no run at `path`, or it is corrupted.
    """
    state, file = checkout.load("trainers.common.runs.finished").read_run(path)
    saved = Path(path) / FILE
    meta = state["meta"]
    if saved.is_file():
        try:
            content = json.loads(saved.read_text(encoding="utf-8"))
            cls = class_of_method(content["method"]) if content["generated"] else Classifier
            model = cls(**content["params"])
            model.classes_ = np.array(content["classes"], dtype=np.dtype(content["dtype"]))
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{saved} is corrupted ({type(error).__name__}: {error})") from error
    else:
        shots = state["settings"].get("DATASET.NUM_SHOTS", -1)
        model = Classifier(
            meta["trainer"], backbone=meta["backbone"], template=meta["template"], shots=None if shots < 1 else shots
        )
        model.classes_ = np.array(meta["classnames"])
    model.classifier_ = checkout.load("trainers.common.inference.classifier").Classifier(state, file, device=device)
    record = checkout.load("trainers.common.runs.record")
    model.result_ = record.read(os.path.join(path, record.FILE))
    return model


def methods() -> list[str]:
    """Returns the names of the methods."""
    trainers = checkout.load("trainers")
    trainers.register_all()
    base = checkout.load("trainers.common.trainer").ClipTrainer
    registered = trainers.methods().items()
    return [name for name, method in registered if issubclass(method, base) and not getattr(method, "alias_of", "")]


def parameter_of(key: str) -> str:
    """Returns the parameter for a config key: N_CTX -> n_ctx, LAMBDA -> lambda_."""
    return f"{key.lower()}_" if keyword.iskeyword(key.lower()) else key.lower()


@functools.cache
def class_of_method(name: str) -> type[Classifier]:
    """Returns the estimator of a method. Its parameters are those of `Classifier` and the method's config keys.

    Raises:
        ValueError: there is no such method.
    """
    if name not in methods():
        raise ValueError(f"module 'clipfit' has no method {name!r}: must be one of {', '.join(methods())}")
    method = checkout.load("trainers").methods()[name]
    section = checkout.load("dassl.config").cfg_default.TRAINER[method.section]
    own = {parameter_of(key): value for key, value in section.items() if key != "PREC"}
    signature = inspect.signature(Classifier.__init__)
    shared = [p for p in signature.parameters.values() if p.name != "method"]
    extra = [inspect.Parameter(key, inspect.Parameter.KEYWORD_ONLY, default=None) for key in own]

    signature = signature.replace(parameters=[*shared, *extra])

    def __init__(self, **params):
        given = signature.bind(self, **params)
        given.apply_defaults()
        for key in list(given.arguments)[1:]:
            setattr(self, key, given.arguments[key])

    __init__.__signature__ = signature
    options = "".join(f"\n        {key}: by default {value!r}" for key, value in own.items())
    doc = f"{inspect.getdoc(method)}\n\n    Parameters in addition to those of `Classifier`:{options}"
    attributes = {"__init__": __init__, "__doc__": doc, "__module__": __package__, "method": name}
    return type(name, (Classifier,), attributes)

"""What a run was and what came out: `result.json`, and what a checkpoint must fit."""

from __future__ import annotations

import json
import os
import platform
import sys
import time

from yacs.config import CfgNode

from dassl.config import get_cfg_default

from .files import write_atomically
from .provenance import data_hash, git_revision, now, peak_memory
from .record_schema import FILE, WHICH_RUN, check, counts

ALL_SECTIONS = "*"  # for trainers that do not say which section of TRAINER is theirs
loaded_plugins: list[dict] = []  # of this process, as records name them: {"path": ..., "sha256": ...}


def settings(cfg, section: str) -> dict:
    """The config values that decide what is learned, flat: "OPTIM.LR" -> 0.002.

    `section` is the key under TRAINER with the method's options, "" for none.
    """
    own = "TRAINER." if section == ALL_SECTIONS else f"TRAINER.{section}."
    return {
        key: value
        for key, value in flatten(cfg).items()
        if not key.startswith("TRAINER.") or key == "TRAINER.NAME" or key.startswith(own)
    }


def flatten(node: CfgNode, prefix: str = "") -> dict:
    """Values of a config below `prefix`, by dotted key; only those that count (`record_schema.counts`)."""
    flat = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, CfgNode):
            flat.update(flatten(value, f"{name}."))
        elif counts(name):
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat


def identity(trainer) -> dict:
    """What tuned tensors belong to: method, backbone, prompts, classes, versions."""
    import torch

    return {
        "trainer": trainer.cfg.TRAINER.NAME,
        "zero_shot": trainer.zero_shot,
        "backbone": trainer.cfg.MODEL.BACKBONE.NAME,
        **trainer.model_identity(),
        "classnames": [trainer.lab2cname[label] for label in sorted(trainer.lab2cname)],
        "plugins": [dict(plugin) for plugin in loaded_plugins],
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }


def describe(trainer) -> dict:
    """Which run it is: what is known from its start on."""
    cfg, dataset = trainer.cfg, getattr(getattr(trainer, "dm", None), "dataset", None)
    return {
        "format": 1,
        "finished": False,
        "dataset": cfg.DATASET.NAME,
        "classes": cfg.DATASET.SUBSAMPLE_CLASSES,
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
        "root": cfg.DATASET.ROOT and os.path.abspath(cfg.DATASET.ROOT),
        "metrics": {},
        "eval_only": not trainer.run.training,
        "epochs": trainer.max_epoch if trainer.run.training else 0,
        "source": trainer.run.source,
        "evaluation": {"split": cfg.TEST.SPLIT, "final_model": cfg.TEST.FINAL_MODEL},
        "identity": identity(trainer),
        "settings": settings(cfg, trainer.section),
        "data": {name: data_hash(getattr(dataset, name, None)) for name in ("train_x", "val", "test")},
        "git": git_revision(),
        "command": sys.argv,
        "started": now(),
    }


def source_of(state: dict, model_dir: str) -> dict:
    """The run that a loaded checkpoint comes from; None for what a checkpoint of another program does not tell."""
    made_with = state.get("settings") or {}
    return {
        "dataset": made_with.get("DATASET.NAME"),
        "classes": made_with.get("DATASET.SUBSAMPLE_CLASSES"),
        "shots": made_with.get("DATASET.NUM_SHOTS"),
        "seed": made_with.get("SEED"),
        "settings": made_with or None,
        "model_dir": model_dir,
        "epoch": state.get("epoch"),
    }


def begin(trainer) -> None:
    """Write OUTPUT_DIR/result.json of a run that starts: with "finished" false, so that a crashed one can be named.

    The record of a finished run is not lost: one of the same run stays until it is replaced by the new final one,
    one of another run gets its time as suffix, as Dassl keeps logs.
    """
    trainer.run.record = describe(trainer)
    path = os.path.join(trainer.cfg.OUTPUT_DIR, FILE)
    old = read(path)
    if old and old.get("finished"):
        if same_run(old, trainer.run.record):
            print(f"{path} is of a finished run with these settings; it stays until this run is finished, too")
            return
        kept = f"{path}-{time.strftime('%Y-%m-%d-%H-%M-%S', time.localtime(os.path.getmtime(path)))}"
        while os.path.exists(kept):  # two within a second
            kept += "-2"
        os.replace(path, kept)
        print(f"{path} was of a finished run with other settings; it is kept as {kept}")
    save(trainer.run.record, path)


def write(trainer) -> None:
    """Write OUTPUT_DIR/result.json of a run that is finished, atomically."""
    import torch

    cuda, run = trainer.device.type == "cuda", trainer.run
    result = {
        **run.record,
        "finished": True,
        "metrics": run.metrics,
        "train_seconds": run.trained_seconds,
        "test_seconds": round(run.test_seconds, 3),
        "peak_memory_mb": round(peak_memory(trainer.device)),
        "device": torch.cuda.get_device_name() if cuda else f"cpu ({torch.get_num_threads()} threads)",
        "written": now(),
    }
    save(result, os.path.join(trainer.cfg.OUTPUT_DIR, FILE))


def save(result: dict, path: str) -> None:
    """Write a record, atomically. Raises ValueError if a field is missing, unknown, or not of its type."""
    check(result, complete=True)
    write_atomically(path, json.dumps(result, indent=1) + "\n")


def read(path: str) -> dict | None:
    """The record at `path`; None where there is none, or one that cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def same_run(old: dict, new: dict) -> bool:
    """Whether two records are of the same run: settings, backbone and, of an evaluation, the training it evaluates."""
    new = json.loads(json.dumps(new))  # as it would be read
    which = [
        [*(r.get(key) for key in WHICH_RUN), (r.get("identity") or {}).get("fingerprint"), evaluated(r)]
        for r in (old, new)
    ]
    return which[0] == which[1]


def differences(old: dict, new: dict) -> list[str]:
    """The settings in which two runs differ: "OPTIM.LR 0.002 -> 0.02".

    A key that one of them does not have, because the code has got it since, counts by its default.
    """
    keys = old.keys() | new.keys()
    if old.keys() != new.keys():
        defaults = flatten(get_cfg_default())
        defaults = {key: defaults[key] for key in keys & defaults.keys()}
        old, new = {**defaults, **old}, {**defaults, **new}
    return [f"{key} {old.get(key)!r} -> {new.get(key)!r}" for key in sorted(keys) if old.get(key) != new.get(key)]


def evaluated(result: dict) -> tuple:
    """Settings and epoch of the training whose checkpoint a record's run evaluated."""
    source = result.get("source") or {}
    return source.get("settings"), source.get("epoch")

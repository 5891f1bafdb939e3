"""The run record (`result.json`): settings, identity and results of a run."""

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

ALL_SECTIONS = "*"  # for trainers that do not name their config section
loaded_plugins: list[dict] = []  # plugins of this process, in the format of the record: {"path": ..., "sha256": ...}


def settings(cfg, section: str) -> dict:
    """Returns the config values that affect training, by dotted key: "OPTIM.LR" -> 0.002.

    `section` is the key under TRAINER with the method's options, or "" for none.
    """
    method_prefix = "TRAINER." if section == ALL_SECTIONS else f"TRAINER.{section}."
    return {
        key: value
        for key, value in flatten(cfg).items()
        if not key.startswith("TRAINER.") or key == "TRAINER.NAME" or key.startswith(method_prefix)
    }


def flatten(node: CfgNode, prefix: str = "") -> dict:
    """Returns the values below `node` that affect training (`record_schema.counts`), by dotted key."""
    flat = {}
    for key, value in node.items():
        name = f"{prefix}{key}"
        if isinstance(value, CfgNode):
            flat.update(flatten(value, f"{name}."))
        elif counts(name):
            flat[name] = list(value) if isinstance(value, tuple) else value
    return flat


def identity(trainer) -> dict:
    """Returns the identity of tuned weights: method, backbone, prompt template, class names, versions."""
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
    """Returns the part of the run record that is known when the run starts."""
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
    """Returns the run that a loaded checkpoint comes from. Values missing in another program's checkpoint are None."""
    training_settings = state.get("settings") or {}
    return {
        "dataset": training_settings.get("DATASET.NAME"),
        "classes": training_settings.get("DATASET.SUBSAMPLE_CLASSES"),
        "shots": training_settings.get("DATASET.NUM_SHOTS"),
        "seed": training_settings.get("SEED"),
        "settings": training_settings or None,
        "model_dir": model_dir,
        "epoch": state.get("epoch"),
    }


def begin(trainer) -> None:
    """Writes OUTPUT_DIR/result.json at the start of a run, with "finished": false, so that a crash can be detected.

    The record of a finished run is never lost. A record of the same run stays until this run has finished. A record
    of another run is renamed: its time is appended to its name, as Dassl does with logs.
    """
    trainer.run.record = describe(trainer)
    path = os.path.join(trainer.cfg.OUTPUT_DIR, FILE)
    old = read(path)
    if old and old.get("finished"):
        if same_run(old, trainer.run.record):
            print(f"Note: {path} is the record of a finished run with the same settings: kept until this run finishes")
            return
        backup = f"{path}-{time.strftime('%Y-%m-%d-%H-%M-%S', time.localtime(os.path.getmtime(path)))}"
        while os.path.exists(backup):  # two records within one second
            backup += "-2"
        os.replace(path, backup)
        print(f"Note: {path} is the record of a finished run with other settings: renamed to {backup}")
    save(trainer.run.record, path)


def write(trainer) -> None:
    """Writes OUTPUT_DIR/result.json of a finished run, atomically."""
    import torch

    run = trainer.run
    cuda = trainer.device.type == "cuda"
    result = {
        **run.record,
        "finished": True,
        "metrics": run.metrics,
        "train_seconds": run.trained_seconds,
        "test_seconds": round(run.test_seconds, 3),
        "peak_memory_mb": peak_memory(trainer.device),
        "device": torch.cuda.get_device_name() if cuda else f"cpu ({torch.get_num_threads()} threads)",
        "written": now(),
    }
    save(result, os.path.join(trainer.cfg.OUTPUT_DIR, FILE))


def save(result: dict, path: str) -> None:
    """Writes a record, atomically. Raises ValueError if a field is missing, unexpected, or of the wrong type."""
    check(result, complete=True)
    write_atomically(path, json.dumps(result, indent=1) + "\n")


def read(path: str) -> dict | None:
    """Returns the record at `path`, or None if it is missing or cannot be read."""
    try:
        with open(path, encoding="utf-8") as file:
            result = json.load(file)
    except (OSError, RecursionError, ValueError):
        return None
    return result if isinstance(result, dict) else None


def same_run(old: dict, new: dict) -> bool:
    """Whether two records describe the same run: fields in WHICH_RUN, backbone and evaluated checkpoint are equal."""
    new = json.loads(json.dumps(new))  # tuples become lists, as in a record that was read
    return _run_key(old) == _run_key(new)


def _run_key(result: dict) -> list:
    """Returns the values of a record that identify its run."""
    fingerprint = (result.get("identity") or {}).get("fingerprint")
    return [*(result.get(key) for key in WHICH_RUN), fingerprint, evaluated(result)]


def differences(old: dict, new: dict) -> list[str]:
    """Returns the settings in which two runs differ: "OPTIM.LR 0.002 -> 0.02".

    A key that is missing in one run, because it was added to the code later, has its default.
    """
    keys = old.keys() | new.keys()
    if old.keys() != new.keys():
        defaults = flatten(get_cfg_default())
        defaults = {key: defaults[key] for key in keys & defaults.keys()}
        old, new = {**defaults, **old}, {**defaults, **new}
    return [f"{key} {old.get(key)!r} -> {new.get(key)!r}" for key in sorted(keys) if old.get(key) != new.get(key)]


def evaluated(result: dict) -> tuple:
    """Returns (settings, epoch) of the checkpoint that was evaluated; (None, None) for a training run."""
    source = result.get("source") or {}
    return source.get("settings"), source.get("epoch")

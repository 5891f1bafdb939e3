"""The run record (`result.json`): settings, identity and results of a run."""

from __future__ import annotations

import contextlib
import glob
import json
import os
import platform
import re
import sys
import time

from yacs.config import CfgNode

from dassl.config import get_cfg_default

from .dataset_metrics import metric_of
from .files import write_atomically
from .image_hashes import ImageHashes, content_differences
from .log_lines import read_text
from .provenance import data_hash, git_revision, now, peak_memory
from .record_schema import FILE, FORMAT, SPLITS, WHICH_RUN, check, counts, record_digest

PREDICTIONS = "predictions.csv"
EVALUATION = "evaluation"  # beginning of the names of evaluation records in the run directory of a training
ALL_SECTIONS = "*"  # for trainers that do not name their config section
command: list[str] | None = None  # that of runs which no program starts; None: sys.argv
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


def check_backbone(meta: dict, identity: dict, path: str) -> None:
    """Raises ValueError if the weights at `path`, with the identity `meta`, were tuned on another backbone."""
    if meta["fingerprint"] != identity["fingerprint"]:
        raise ValueError(
            f"{path} was tuned on the backbone {meta['backbone']} ({meta['fingerprint']}), but this run has "
            f"{identity['backbone']} ({identity['fingerprint']}): pass --backbone {meta['backbone']}"
        )
    saved, digest = (str(values.get("weights_digest") or "")[:16] for values in (meta, identity))
    if saved and digest and saved != digest:  # earlier versions saved no digest
        raise ValueError(
            f"{path} was tuned on {meta['backbone']} with the digest {saved}, but {identity['backbone']} has {digest}: "
            "the file is damaged, or holds the weights rounded to another type; pass --backbone with the original"
        )


def describe(trainer) -> dict:
    """Returns the part of the run record that is known when the run starts."""
    from ..distributed import size  # imports torch

    cfg = trainer.cfg
    dataset = dataset_of(trainer)
    return {
        "format": FORMAT,
        "finished": False,
        "dataset": cfg.DATASET.NAME,
        "name": dataset_name(cfg),
        "classes": cfg.DATASET.SUBSAMPLE_CLASSES,
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
        "root": cfg.DATASET.ROOT and os.path.abspath(cfg.DATASET.ROOT),
        "metric": metric_of(dataset),
        "metrics": {},
        "eval_only": not trainer.run.training,
        "epochs": trainer.max_epoch if trainer.run.training else 0,
        "source": trainer.run.source,
        "evaluation": {"split": cfg.TEST.SPLIT, "final_model": cfg.TEST.FINAL_MODEL},
        "identity": identity(trainer),
        "settings": settings(cfg, trainer.section),
        "data": {name: data_hash(getattr(dataset, name, None)) for name in SPLITS},
        "processes": size(),
        "git": git_revision(),
        "command": command or sys.argv,
        "started": now(),
    }


def dataset_of(trainer):
    """Returns the dataset of a trainer; None if the trainer builds its own loaders."""
    return getattr(getattr(trainer, "dm", None), "dataset", None)


def dataset_name(cfg) -> str:
    """Returns the name of the dataset in reports and paths; of the user's own images that of their folder or file."""
    if cfg.DATASET.NAME == "Captions":
        return cfg.DATASET.CAPTIONS.NAME or os.path.splitext(os.path.basename(cfg.DATASET.CAPTIONS.FILE))[0]
    if cfg.DATASET.NAME != "Folder":
        return cfg.DATASET.NAME
    root = os.path.abspath(os.path.expanduser(cfg.DATASET.ROOT))
    return cfg.DATASET.FOLDER.NAME or os.path.basename(root) or cfg.DATASET.NAME


def read_images(trainer) -> None:
    """Starts to read the images of the trainer's dataset in the background, for `content`.

    A run that is evaluated on validation images reads no test images, except to make sure that none of the user's own
    images is in train and test.
    """
    dataset = dataset_of(trainer)
    on_val = trainer.cfg.TEST.SPLIT == "val" and not getattr(dataset, "refuses_duplicates", False)
    trainer.run.images = ImageHashes(dataset, ("train_x", "val") if on_val else SPLITS)


def content(trainer, splits=SPLITS) -> dict:
    """Returns the digests of the images by split, as in the run record. Waits until the images have been read."""
    if trainer.run.images is None:
        read_images(trainer)
    return {split: trainer.run.images.content(split) for split in splits if split in trainer.run.images.splits}


def source_of(state: dict, model_dir: str) -> dict:
    """Returns the run that a loaded checkpoint comes from. Values missing in another program's checkpoint are None."""
    from .digest import digest  # imports torch

    training_settings = state.get("settings") or {}
    return {
        "dataset": training_settings.get("DATASET.NAME"),
        "classes": training_settings.get("DATASET.SUBSAMPLE_CLASSES"),
        "shots": training_settings.get("DATASET.NUM_SHOTS"),
        "seed": training_settings.get("SEED"),
        "settings": training_settings or None,
        "model_dir": model_dir,
        "epoch": state.get("epoch"),
        "weights": digest(state["state_dict"]),
        "content": (state.get("meta") or {}).get("content"),
    }


def check_folder(trainer) -> None:
    """Raises ValueError if the run directory has a result or checkpoints of another method's training."""
    from .checkpoint_file import POINTER  # imports torch

    folder, method = trainer.cfg.OUTPUT_DIR, trainer.cfg.TRAINER.NAME
    old = read(os.path.join(folder, FILE)) or {}
    other = (old.get("identity") or {}).get("trainer", method)
    if other == method or old.get("eval_only"):
        return
    if old.get("finished") or glob.glob(os.path.join(glob.escape(folder), "*", POINTER)):
        raise ValueError(
            f"--output-dir {folder} holds a run of {other}, and this run is one of {method}: set another --output-dir, "
            "or remove that folder"
        )


def begin(trainer) -> None:
    """Writes the run record at the start of a run, with "finished": false, so that a crash can be detected.

    The record of a finished run is never lost. A record of the same run stays until this run has finished. A record
    of another run is renamed: its time is appended to its name, as Dassl does with logs.
    """
    trainer.run.record = describe(trainer)
    path = trainer.run.record_path = record_path(trainer)
    old = read(path)
    if old and old.get("finished"):
        if same_run(old, {**trainer.run.record, "content": content(trainer)}):
            print(f"Note: {path} is the record of a finished run with the same settings: kept until this run finishes")
            return
        backup = f"{path}-{time.strftime('%Y-%m-%d-%H-%M-%S', time.localtime(os.path.getmtime(path)))}"
        while os.path.exists(backup):  # two records within one second
            backup += "-2"
        os.replace(path, backup)
        with contextlib.suppress(FileNotFoundError):  # records of earlier versions have no predictions
            os.replace(csv_path(path), csv_path(path) + backup[len(path) :])
        print(f"Note: {path} is the record of a finished run with other settings or images: renamed to {backup}")
    save(trainer.run.record, path)


def record_path(trainer) -> str:
    """Returns the path of the run record: OUTPUT_DIR/result.json.

    An evaluation in the run directory of a training has a file of its own, such as
    `evaluation-DescribableTextures-new-test.json`, so that it does not replace the record of the training.
    """
    cfg = trainer.cfg
    path = os.path.join(cfg.OUTPUT_DIR, FILE)
    if trainer.run.training or (read(path) or {}).get("eval_only", True):
        return path
    parts = [EVALUATION, dataset_name(cfg), cfg.DATASET.SUBSAMPLE_CLASSES, cfg.TEST.SPLIT]
    if trainer.run.load_epoch is not None:
        parts.append(f"epoch{trainer.run.load_epoch}")
    return os.path.join(cfg.OUTPUT_DIR, re.sub(r"[^\w.-]", "_", "-".join(parts)) + ".json")


def csv_path(record_path: str) -> str:
    """Returns the path of the predictions of a record: predictions.csv next to result.json.

    Those of `evaluation-DTD-new-test.json` are in `evaluation-DTD-new-test-predictions.csv`.
    """
    folder, name = os.path.split(record_path)
    return os.path.join(folder, PREDICTIONS if name == FILE else f"{os.path.splitext(name)[0]}-{PREDICTIONS}")


def write(trainer) -> None:
    """Writes the run record of a finished run, atomically."""
    import torch

    run = trainer.run
    cuda = trainer.device.type == "cuda"
    result = {
        **run.record,
        "finished": True,
        "metrics": run.metrics,
        "train_seconds": run.trained_seconds,
        "test_seconds": round(run.test_seconds, 3),
        "trust": run.trust,
        "peak_memory_mb": peak_memory(trainer.device),
        "device": torch.cuda.get_device_name() if cuda else f"cpu ({torch.get_num_threads()} threads)",
        "content": content(trainer),
        "weights": run.weights,
        "written": now(),
    }
    save(result, run.record_path)


def save(result: dict, path: str) -> None:
    """Writes a record with its digest, atomically.

    Raises ValueError if a field is missing, unexpected, or of the wrong type.
    """
    result = as_read(result)
    result["digest"] = record_digest(result)
    check(result, complete=True)
    write_atomically(path, json.dumps(result, indent=1) + "\n")


def read(path: str) -> dict | None:
    """Returns the record at `path`, or None if it is missing, cannot be read or does not match its digest."""
    try:
        result = json.loads(read_text(path))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(result, dict):
        return None
    changed = "digest" in result and result["digest"] != record_digest(result)
    return None if changed else result


def unfinished(cfg) -> dict:
    """Returns the record of the run that is resumed, in OUTPUT_DIR or else in RESUME; {} if there is none."""
    records = [read(os.path.join(folder, FILE)) for folder in (cfg.OUTPUT_DIR, cfg.RESUME) if folder]
    return next((record for record in records if record and not record.get("finished")), {})


def as_read(value):
    """Returns a value as it is after writing it as JSON and reading it: tuples are lists."""
    return json.loads(json.dumps(value))


def same_run(old: dict, new: dict) -> bool:
    """Whether two records describe the same run: fields in WHICH_RUN, backbone, images, evaluated checkpoint are equal.

    Class names and images are compared if both records have them.
    """
    new = as_read(new)
    return _run_key(old) == _run_key(new) and not data_differences(old, new)


def _run_key(result: dict) -> list:
    """Returns the values of a record that identify its run."""
    identity = result.get("identity") or {}
    values = [result.get(key) for key in WHICH_RUN]
    return [*values, identity.get("fingerprint"), start_weights(identity), evaluated(result)]


def start_weights(identity: dict) -> str | None:
    """Returns the digest of the run that a run was started from (MODEL.START_FROM); None without a start."""
    return (identity.get("start") or {}).get("weights")


def start_differences(old: dict, new: dict) -> list[str]:
    """Returns ["MODEL.START_FROM output/a (4f2a...) -> none"] if two identities have another start."""
    if start_weights(old) == start_weights(new):
        return []
    starts = [identity.get("start") for identity in (old, new)]
    texts = [f"{start['model_dir']} ({start['weights'][:8]})" if start else "none" for start in starts]
    return [f"MODEL.START_FROM {texts[0]} -> {texts[1]}"]


def data_differences(old: dict, new: dict, splits=SPLITS) -> list[str]:
    """Returns in which data two records differ: ["class names 'cat' -> 'dog'", "training images 120 -> 130"].

    Works for records without class names or content, which are not compared.
    """
    found = []
    names = [(record.get("identity") or {}).get("classnames") for record in (old, new)]
    if None not in names and names[0] != names[1]:
        changed = [f"{a!r} -> {b!r}" for a, b in zip(*names) if a != b] or [f"{len(names[0])} -> {len(names[1])}"]
        found.append(f"class names {changed[0]}")
    return found + content_differences(old.get("content"), new.get("content"), splits)


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

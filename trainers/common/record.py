"""What a run was and what came out: `result.json`, and what a checkpoint must fit."""

import hashlib
import json
import os
import platform
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import torch
from yacs.config import CfgNode

# Keys that do not change what is learned: where files lie, what is printed, how it is tested.
VOLATILE = (
    "OUTPUT_DIR", "RESUME", "VERBOSE", "USE_CUDA", "VERSION", "DATASET.ROOT", "DATALOADER.NUM_WORKERS",
    "DATALOADER.TEST", "TRAIN.PRINT_FREQ", "TRAIN.CHECKPOINT_FREQ", "TEST", "MODEL.BACKBONE.NAME", "TRAINER",
)  # fmt: skip


def settings(cfg, section: str) -> dict:
    """The config values that decide what is learned, flat: "OPTIM.LR" -> 0.002."""
    flat = {}

    def walk(node, prefix):
        for key, value in node.items():
            name = f"{prefix}{key}"
            if name in VOLATILE:
                continue
            if isinstance(value, CfgNode):
                walk(value, f"{name}.")
            else:
                flat[name] = list(value) if isinstance(value, tuple) else value

    walk(cfg, "")
    flat["TRAINER.NAME"] = cfg.TRAINER.NAME
    if section:
        walk(cfg.TRAINER[section], f"TRAINER.{section}.")
    return flat


def identity(trainer) -> dict:
    """What tuned tensors belong to: method, backbone, prompts, classes, versions."""
    return {
        "trainer": trainer.cfg.TRAINER.NAME,
        "backbone": trainer.cfg.MODEL.BACKBONE.NAME,
        "fingerprint": trainer.clip.fingerprint,
        "precision": trainer.precision,
        "tune": list(trainer.sets),
        "template": trainer.template,
        "classnames": list(trainer.dm.dataset.classnames),
        "versions": {"python": platform.python_version(), "torch": str(torch.__version__)},
    }


def write(trainer, test_seconds: float) -> None:
    """Write OUTPUT_DIR/result.json, atomically, after the final evaluation of a run."""
    cfg, dataset = trainer.cfg, trainer.dm.dataset
    evaluated = trainer.start_epoch == trainer.epoch == 0 and trainer._writer is None
    cuda = trainer.device.type == "cuda"
    result = {
        "format": 1,
        "finished": True,
        "dataset": cfg.DATASET.NAME,
        "classes": cfg.DATASET.SUBSAMPLE_CLASSES,
        "shots": cfg.DATASET.NUM_SHOTS,
        "seed": cfg.SEED,
        "metrics": trainer.metrics,
        "eval_only": evaluated,
        "epochs": 0 if evaluated else trainer.max_epoch,
        "identity": identity(trainer),
        "settings": settings(cfg, trainer.section),
        "data": {name: data_hash(getattr(dataset, name)) for name in ("train_x", "val", "test")},
        "train_seconds": None if evaluated else round(time.time() - trainer.train_started - test_seconds, 3),
        "test_seconds": round(test_seconds, 3),
        "peak_memory_mb": round(
            torch.cuda.max_memory_allocated() / 2**20
            if cuda
            else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (2**20 if sys.platform == "darwin" else 2**10)
        ),
        "device": torch.cuda.get_device_name() if cuda else f"cpu ({torch.get_num_threads()} threads)",
        "git": git_revision(),
        "command": sys.argv,
        "written": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
    }
    write_atomically(os.path.join(cfg.OUTPUT_DIR, "result.json"), json.dumps(result, indent=1) + "\n")


def data_hash(items) -> str | None:
    """16 hex digits over (file name within its folder, label, class name) of a split's images, in order."""
    if not items:
        return None
    digest = hashlib.sha256()
    for item in items:
        place = "/".join(Path(item.impath).parts[-2:])
        digest.update(f"{place}\t{item.label}\t{item.classname}\n".encode())
    return digest.hexdigest()[:16]


def git_revision() -> str | None:
    """Commit of the code, with "+" if it was changed since; None outside a git checkout."""
    root = Path(__file__).resolve().parent
    try:
        run = ["git", "-C", str(root), "describe", "--always", "--dirty=+", "--abbrev=12", "--exclude=*"]
        return subprocess.run(run, capture_output=True, text=True, timeout=10, check=True).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return None


def write_atomically(path: str, text: str) -> None:
    """Write a text file so that a reader sees the old content or the new, never half of it."""
    os.makedirs(os.path.dirname(path) or ".", exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=os.path.dirname(path) or ".", prefix=".result-")
    try:
        with os.fdopen(handle, "w") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise

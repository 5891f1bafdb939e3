"""Logs a run's curves to Weights & Biases (https://wandb.ai), for `train.py --wandb`.

W&B reads its environment variables: WANDB_PROJECT (default: clipfit), WANDB_ENTITY, WANDB_MODE=offline, ...
"""

from __future__ import annotations

import os
import uuid
from contextlib import contextmanager
from pathlib import Path

from . import record
from .files import write_atomically


@contextmanager
def curves_of(trainer):
    """Also logs every scalar that the trainer writes in the block to a W&B run.

    There is one W&B run per run directory: resuming a training resumes its W&B run.

    Raises:
        ValueError: W&B cannot start; the message has W&B's reason.
    """
    import wandb

    try:
        run = wandb.init(**settings(trainer.cfg, getattr(trainer, "section", "")))
    except wandb.errors.Error as error:
        raise ValueError(f"--wandb: {error}; log in with `wandb login`, or set WANDB_MODE=offline") from error
    run.define_metric("step")
    run.define_metric("epoch")
    run.define_metric("train/*", step_metric="step")
    for split in ("val", "test"):
        run.define_metric(f"{split}/*", step_metric="epoch")
    points = Points(run)
    write_scalar = trainer.write_scalar

    def write(tag, scalar_value, global_step=None):
        write_scalar(tag, scalar_value, global_step)
        points.add(tag, scalar_value, global_step)

    trainer.write_scalar = write
    code = 1
    try:
        yield run
        code = 0
    finally:
        del trainer.write_scalar
        points.send()
        run.finish(exit_code=code)


def settings(cfg, section: str) -> dict:
    """Returns the arguments of `wandb.init`: name, group (runs that differ only in the seed), config, ..."""
    parts = [cfg.TRAINER.NAME, cfg.DATASET.NAME]
    if cfg.DATASET.NUM_SHOTS > 0:
        parts.append(f"{cfg.DATASET.NUM_SHOTS}shots")
    if cfg.DATASET.SUBSAMPLE_CLASSES != "all":
        parts.append(cfg.DATASET.SUBSAMPLE_CLASSES)
    group = "-".join(parts)
    return {
        "project": os.environ.get("WANDB_PROJECT", "clipfit"),
        "group": group,
        "name": f"{group}-seed{cfg.SEED}",
        "id": run_id(Path(cfg.OUTPUT_DIR)),
        "resume": "allow",
        "dir": cfg.OUTPUT_DIR,
        "config": {**record.settings(cfg, section), "MODEL.BACKBONE.NAME": cfg.MODEL.BACKBONE.NAME, "SEED": cfg.SEED},
    }


def run_id(folder: Path) -> str:
    """Returns the id of the W&B run of a run directory; creates it on first use."""
    file = folder / "wandb" / "run_id"
    if not file.is_file():
        write_atomically(str(file), uuid.uuid4().hex[:12] + "\n")
    return file.read_text().strip()


class Points:
    """Collects the values of one step and logs them in one call."""

    def __init__(self, run):
        self.run = run
        self.values = {}

    def add(self, tag: str, value: float, step: int | None) -> None:
        x_axis = {"step" if tag.startswith("train/") else "epoch": step}
        if not x_axis.items() <= self.values.items() or tag in self.values:
            self.send()
        self.values.update({tag: float(value), **x_axis})

    def send(self) -> None:
        if self.values:
            self.run.log(self.values)
        self.values = {}

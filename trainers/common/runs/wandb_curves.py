"""Sends a run's curves to Weights & Biases (https://wandb.ai), for `train.py --wandb`.

W&B's own environment variables count: WANDB_PROJECT (default: clipfit), WANDB_ENTITY, WANDB_MODE=offline, ...
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
    """While it lasts, every scalar that the trainer writes is also a point of a W&B run.

    The run is that of the output folder: a training that continues there continues its W&B run. Raises ValueError with
    W&B's reason where it cannot start.
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
    points, write_scalar = Points(run), trainer.write_scalar

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
    """Arguments of `wandb.init` for a run: its name, its group (the runs that differ in the seed), its config."""
    parts = [cfg.TRAINER.NAME, cfg.DATASET.NAME]
    parts += [f"{cfg.DATASET.NUM_SHOTS}shots"] if cfg.DATASET.NUM_SHOTS > 0 else []
    parts += [cfg.DATASET.SUBSAMPLE_CLASSES] if cfg.DATASET.SUBSAMPLE_CLASSES != "all" else []
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
    """The W&B run that belongs to an output folder."""
    file = folder / "wandb" / "run_id"
    if not file.is_file():
        write_atomically(str(file), uuid.uuid4().hex[:12] + "\n")
    return file.read_text().strip()


class Points:
    """Gathers the values that belong to one step, and sends them together."""

    def __init__(self, run):
        self.run, self.values = run, {}

    def add(self, tag: str, value: float, step: int | None) -> None:
        at = {"step" if tag.startswith("train/") else "epoch": step}
        if not at.items() <= self.values.items() or tag in self.values:
            self.send()
        self.values.update({tag: float(value), **at})

    def send(self) -> None:
        if self.values:
            self.run.log(self.values)
        self.values = {}

"""Reads and writes the trace of a training run, `OUTPUT_DIR/trace.npz`. `trace.py` records it."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass

import numpy as np

from . import checkpoint
from .digest import digest
from .files import write_atomically

NAME = "trace.npz"
ROWS = ("change", "term_gradient", "term_rest")  # arrays with a row per step


@dataclass(frozen=True)
class Traced:
    """The content of trace.npz, for n tensors, T steps, and k steps at which the gradients of m terms were recorded."""

    names: list[str]
    gradient: np.ndarray  # (n,) sum over steps of the squared gradient
    change: np.ndarray  # (T, n) squared change since the start, after each step
    steps_per_epoch: int
    terms: list[str]
    term_steps: np.ndarray  # (k,) counted from 0
    term_gradient: np.ndarray  # (k, m, n) squared gradient of each term
    term_rest: np.ndarray  # (k, n) square of the gradient minus the sum of the terms' gradients
    weights: str  # digest of the weights after the last step


def write(trainer) -> None:
    """Writes the trace of a trainer that has finished training to its run directory, atomically."""
    state = trainer.trace.state()
    n, m = len(state["names"]), len(state["terms"])
    rows = {"change": np.zeros((0, n)), "term_gradient": np.zeros((0, m, n)), "term_rest": np.zeros((0, n))}
    rows.update({key: state[key][0].numpy() for key in ROWS if state[key]})
    buffer = io.BytesIO()
    np.savez_compressed(
        buffer,
        names=np.array(state["names"]),
        gradient=np.zeros(n) if state["gradient"] is None else state["gradient"].numpy(),
        steps_per_epoch=state["steps"] // trainer.max_epoch,
        terms=np.array(state["terms"], dtype=str),
        term_steps=np.array(state["term_steps"], dtype=int),
        weights=digest(checkpoint.weights_of(trainer, trainer.model_name)),
        **rows,
    )
    path = os.path.join(trainer.output_dir, NAME)
    write_atomically(path, buffer.getvalue())
    print(f"Trace saved to {path} ({len(buffer.getvalue()) / 1000:,.0f} KB)")


def read(path: str) -> Traced | None:
    """Returns the trace at `path`; None if there is none.

    Raises:
        ValueError: the file is corrupted.
    """
    if not os.path.isfile(path):
        return None
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        lists = {name: arrays.pop(name).tolist() for name in ("names", "terms", "steps_per_epoch", "weights")}
        return Traced(**arrays, **lists)
    except Exception as error:  # a corrupted file can raise anything
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise ValueError(
            f"cannot read the trace {path}: corrupted ({reason}); train again with TRAIN.TRACE True"
        ) from error

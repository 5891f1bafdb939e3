"""Saves and restores the state of all random generators. Upstream Dassl does not save it."""

from __future__ import annotations

import random

import numpy as np
import torch


def random_state() -> dict:
    """Returns the state of Python's, NumPy's and torch's generators, as plain values and tensors."""
    algorithm, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (algorithm, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": [torch.cuda.get_rng_state()] if torch.cuda.is_available() else [],
    }


def set_random_state(state: dict) -> None:
    """Restores the state from `random_state`. A run uses one GPU, which is the first of those in older checkpoints."""
    random.setstate(state["python"])
    algorithm, keys, *rest = state["numpy"]
    np.random.set_state((algorithm, np.asarray(keys, dtype=np.uint32), *rest))
    torch.set_rng_state(state["torch"])
    if torch.cuda.is_available() and state["cuda"]:
        torch.cuda.set_rng_state(state["cuda"][0])

"""The random generators of python, numpy, torch and CUDA."""

import contextlib
import random

import numpy as np
import torch


def set_random_seed(seed: int) -> None:
    """Seed all of them. Raises ValueError unless 0 <= seed < 2**32."""
    if not 0 <= seed < 2**32:
        raise ValueError(f"SEED must be from 0 to 2**32 - 1, got {seed}")
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.cuda.manual_seed_all(seed)


def get_rng_state() -> dict:
    """Their states as plain values and tensors; CUDA's if in use."""
    name, keys, *rest = np.random.get_state()
    return {
        "python": random.getstate(),
        "numpy": (name, keys.tolist(), *rest),
        "torch": torch.get_rng_state(),
        "cuda": torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else [],
    }


def set_rng_state(state: dict) -> None:
    """Restore `get_rng_state()`. CUDA is left alone where the number of devices differs."""
    random.setstate(state["python"])
    np.random.set_state(state["numpy"])
    torch.set_rng_state(state["torch"])
    if state["cuda"] and len(state["cuda"]) == torch.cuda.device_count():
        torch.cuda.set_rng_state_all(state["cuda"])


@contextlib.contextmanager
def keep_python_random():
    """Leave Python's generator as it was: some libraries draw from it when they are first imported.

    A resumed run imports them at another time than one that was never stopped.
    """
    state = random.getstate()
    try:
        yield
    finally:
        random.setstate(state)

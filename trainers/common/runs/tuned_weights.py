"""Tuned tensors as a small file, `OUTPUT_DIR/<model name>/tuned.safetensors`: the tensors and what they fit.

The file holds what evaluation takes from a checkpoint, without the optimiser's state: `read` gives it in the same form.
It is data only, so that reading an untrusted file runs no code of it, and a digest notices every changed byte.
"""

from __future__ import annotations

import json
import os

from .digest import digest
from .files import write_atomically

NAME = "tuned.safetensors"
KEYS = ("meta", "settings", "epoch", "val_result", "metrics")  # beside the tensors; each is JSON in the file's header


def save(state: dict, path: str) -> None:
    """Write the tensors of `state["state_dict"]` and the KEYS of `state`; whole or not at all.

    Raises:
        ImportError: the package safetensors is not installed.
    """
    import safetensors.torch

    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state["state_dict"].items()}
    metadata = {key: json.dumps(state.get(key)) for key in KEYS}
    metadata["digest"] = digest([tensors, metadata])
    write_atomically(path, safetensors.torch.save(tensors, {"format": "pt", **metadata}))


def read(path: str) -> dict:
    """What `save` was given.

    Raises:
        ValueError: the file is damaged or was not written by `save`, or the package safetensors is not installed.
    """
    try:
        from safetensors import safe_open
    except ImportError:
        raise ValueError(f"reading {path} needs the package safetensors: pip install safetensors") from None
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:  # a damaged file can fail in any way
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"cannot read {path} ({reason}): it is damaged or no safetensors file") from error
    metadata = {key: header.get(key) for key in KEYS}
    if None in metadata.values():
        raise ValueError(f"{path} holds tensors but not what they were tuned for: it was written by another program")
    if header.get("digest") != digest([tensors, metadata]):
        raise ValueError(
            f"{path} is damaged: its content is not what was written; copy it again, or make it anew from a checkpoint "
            "(python tools/export.py CHECKPOINT --to delta)"
        )
    return {"state_dict": tensors, **{key: json.loads(text) for key, text in metadata.items()}}


def save_run(trainer, name: str, state: dict) -> None:
    """Write a run's `state` beside its checkpoints, where the package safetensors is there."""
    path = os.path.join(trainer.output_dir, name, NAME)
    try:
        save(state, path)
    except ImportError:
        print(f"Note: the package safetensors is not installed, {NAME} is not written (pip install safetensors)")
        return
    print(f"Tuned tensors saved to {path} ({os.path.getsize(path) / 1000:,.0f} KB)")

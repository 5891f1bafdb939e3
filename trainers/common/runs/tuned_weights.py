"""Tuned weights, `OUTPUT_DIR/<model name>/tuned.safetensors`: a checkpoint without the state of the optimiser.

`read` returns them in the format of a checkpoint. The file contains data only, so reading an untrusted one runs no
code. A digest detects every changed byte.
"""

from __future__ import annotations

import json
import os

from ..finite import require_finite
from .digest import digest
from .files import write_atomically

NAME = "tuned.safetensors"
KEYS = ("meta", "settings", "epoch", "val_result", "metrics")  # JSON values in the header of the file


def save(state: dict, path: str) -> None:
    """Writes the tensors of `state["state_dict"]` and the KEYS of `state`, atomically.

    Raises:
        ImportError: the package safetensors is not installed.
        FloatingPointError: a tensor has infinite or NaN values.
    """
    import safetensors.torch

    require_finite(state["state_dict"], path)
    tensors = {name: tensor.detach().cpu().clone().contiguous() for name, tensor in state["state_dict"].items()}
    metadata = {key: json.dumps(state.get(key)) for key in KEYS}
    metadata["digest"] = digest([tensors, metadata])
    write_atomically(path, safetensors.torch.save(tensors, {"format": "pt", **metadata}))


def read(path: str, bare: bool = False) -> dict:
    """Returns the `state` that `save` wrote. With `bare`, the file may be another program's: only its tensors.

    Raises:
        ValueError: the file is corrupted or was not written by `save`, or the package safetensors is not installed.
    """
    try:
        from safetensors import safe_open
    except ImportError:
        raise ValueError(f"reading {path} needs the package safetensors: pip install safetensors") from None
    try:
        with safe_open(path, framework="pt") as file:
            header = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}
    except Exception as error:  # a corrupted file can raise anything
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"cannot read {path}: corrupted, or not a safetensors file ({reason})") from error
    metadata = {key: header.get(key) for key in KEYS}
    if bare and not any(metadata.values()):
        return {"state_dict": tensors}
    if None in metadata.values():
        missing = ", ".join(key for key, value in metadata.items() if value is None)
        raise ValueError(f"{path} was written by another program: its header has no {missing}")
    if header.get("digest") != digest([tensors, metadata]):
        raise ValueError(
            f"{path} is corrupted (its digest does not match): copy it again, or export it again from a checkpoint "
            "(python tools/export.py CHECKPOINT --to delta)"
        )
    return {"state_dict": tensors, **{key: json.loads(text) for key, text in metadata.items()}}


def save_run(trainer, name: str, state: dict) -> None:
    """Writes the `state` of a model next to its checkpoints, if the package safetensors is installed."""
    path = os.path.join(trainer.output_dir, name, NAME)
    try:
        save(state, path)
    except ImportError:
        print(f"Note: the package safetensors is not installed, {NAME} is not saved (pip install safetensors)")
        return
    print(f"Tuned weights saved to {path} ({os.path.getsize(path) / 1000:,.0f} KB)")

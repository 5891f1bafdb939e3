"""Checkpoint files: whole or not there, checked on reading, and never more than data.

Files and folders are Dassl's: `<folder>/model.pth.tar-<epoch>`, `<folder>/model-best.pth.tar`, and a text file
`<folder>/checkpoint` that names the one to go on from. They hold tensors and plain values only, so that they load with
`weights_only=True`, and under the key `digest` the digest of all the rest (`digest.py`).

A kill between writing a checkpoint and its name leaves the name of the one before, which is whole too. Dassl's own
functions are not used: upstream's write in place.
"""

from __future__ import annotations

import io
import os
import os.path as osp
import pickle
import re
import shlex
import zipfile

import torch

from . import inert_pickle, tuned_weights
from .digest import digest
from .files import write_atomically

POINTER = "checkpoint"
BEST = "model-best.pth.tar"


def write(state: dict, folder: str, is_best: bool = False, model_name: str = "") -> None:
    """Save `state` in `folder` under `model_name`, by default model.pth.tar-<epoch>, and note its name there.

    Raises OSError, one line, if that is not possible; what was there before is left as it was.
    """
    buffer = io.BytesIO()  # in memory first: a full disk is then an error of Python's, not of torch's archive writer
    torch.save({**state, "digest": digest(state)}, buffer)
    name = model_name or f"model.pth.tar-{state['epoch']}"
    write_atomically(osp.join(folder, name), buffer.getbuffer())
    if is_best:
        write_atomically(osp.join(folder, BEST), buffer.getbuffer())
    write_atomically(osp.join(folder, POINTER), f"{name}\n")
    print(f"Checkpoint saved to {osp.join(folder, name)}")


def newest(folder: str) -> str | None:
    """Name of the checkpoint to go on from: what the file `checkpoint` says, else that of the last epoch; or None."""
    pointer = osp.join(folder, POINTER)
    if osp.isfile(pointer):
        with open(pointer, encoding="utf-8", errors="replace") as file:
            name = file.readline().strip()
        if name:
            return name
    return next(iter(names(folder)), None)  # killed before the first name was written, or the name was lost


def names(folder: str) -> list[str]:
    """The checkpoints in `folder`, the last epoch first, the best on validation data at the end."""
    there = os.listdir(folder) if osp.isdir(folder) else []
    epochs = [int(match[1]) for match in (re.fullmatch(r"model\.pth\.tar-(\d{1,9})", name) for name in there) if match]
    return [f"model.pth.tar-{epoch}" for epoch in sorted(epochs, reverse=True)] + [BEST] * (BEST in there)


def read(path: str) -> dict:
    """The content of a checkpoint, checked; of upstream's, which hold Python objects, the tensors.

    Runs no code that the file may hold. Files without a digest, of other programs, are checked by their archive's
    own sums only.

    Raises:
        FileNotFoundError: there is none.
        ValueError: it is damaged, was changed, or is something else. Both name the file and what can be used instead.
    """
    if not osp.isfile(path):
        raise FileNotFoundError(f"no checkpoint at {path}; check --model-dir and --load-epoch. {instead(path)}")
    if path.endswith(".safetensors"):
        return tuned_weights.read(path)
    try:
        return _read(path)
    except Exception as error:  # a damaged file can fail in any way
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise ValueError(
            f"cannot read the checkpoint {path} ({reason}): it is damaged or not one of this project's. {instead(path)}"
        ) from error


def _read(path: str) -> dict:
    if zipfile.is_zipfile(path):  # torch itself does not look at an archive's check sums
        with zipfile.ZipFile(path) as archive:
            if part := archive.testzip():
                raise ValueError(f"check sum of {part}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        state = _read_inert(path)
    if not isinstance(state, dict) or not isinstance(state.get("state_dict"), dict):
        raise ValueError("it has no state_dict")
    if not all(isinstance(tensor, torch.Tensor) for tensor in state["state_dict"].values()):
        raise ValueError("its state_dict holds more than tensors")
    saved = state.pop("digest", None)
    if saved is not None and saved != digest(state):
        raise ValueError("its content is not what was saved")
    return state


def _read_inert(path: str) -> dict:
    """What torch does not read as plain data, read without building any object but tensors.

    Of upstream's Dassl, with Python objects in them (their schedule): the tensors. Our own, with a digest: on torch
    1.13, whose `weights_only` knows no numbers with a point.
    """
    content = torch.load(path, map_location="cpu", pickle_module=inert_pickle, weights_only=False)
    if "digest" in content:
        return content
    tensors = {name: tensor.detach() for name, tensor in content["state_dict"].items()}
    print(f"{path} holds Python objects, which are not loaded; its weights are")
    return {"state_dict": tensors, "epoch": content.get("epoch")}


def instead(path: str) -> str:
    """What to do without the checkpoint at `path`: names the newest intact one beside it."""
    folder = osp.dirname(path)
    for name in names(folder):
        if name == osp.basename(path):
            continue
        try:
            epoch = _read(osp.join(folder, name))["epoch"]
        except Exception:  # damaged, too
            continue
        evaluate = "without --load-epoch" if name == BEST else f"with --load-epoch {epoch}"
        pointer = shlex.quote(osp.join(folder, POINTER))
        return f"Intact is {name} (epoch {epoch}): evaluate it {evaluate}, or go on from it: echo {name} > {pointer}"
    return "No other checkpoint is there: restore a copy, or train again in another --output-dir"

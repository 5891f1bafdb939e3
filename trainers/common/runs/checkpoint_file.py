"""Checkpoint files: written atomically, verified on reading, and data only.

Files and folders are named as in Dassl: `<folder>/model.pth.tar-<epoch>`, `<folder>/model-best.pth.tar`, and the text
file `<folder>/checkpoint` with the name of the checkpoint to resume from. Checkpoints contain tensors and plain values
only, so that they load with `weights_only=True`. The key `digest` has the digest of the other keys (`digest.py`).

If the process is killed after a checkpoint is written but before its name is, `checkpoint` still names the previous
one, which is intact. Dassl's own functions are not used, because upstream's do not write atomically.
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

from . import inert_pickle, torch_archive, tuned_weights
from .digest import digest
from .files import write_atomically
from .nearby import hint

POINTER = "checkpoint"
BEST = "model-best.pth.tar"
EPOCH_FILE = re.compile(r"model\.pth\.tar-(\d{1,9})")  # checkpoint of an epoch, counted from 1


def write(state: dict, folder: str, is_best: bool = False, model_name: str = "") -> None:
    """Saves `state` as `folder`/`model_name` and writes that name to the file `checkpoint`.

    The default of `model_name` is model.pth.tar-<epoch>.

    Raises:
        OSError: a file cannot be written; existing files are unchanged. The message is one line.
    """
    buffer = io.BytesIO()  # serialise in memory, so that a full disk raises Python's OSError instead of torch's error
    torch.save({**state, "digest": digest(state)}, buffer)
    name = model_name or f"model.pth.tar-{state['epoch']}"
    write_atomically(osp.join(folder, name), buffer.getbuffer())
    if is_best:
        write_atomically(osp.join(folder, BEST), buffer.getbuffer())
    write_atomically(osp.join(folder, POINTER), f"{name}\n")
    print(f"Checkpoint saved to {osp.join(folder, name)}")


def newest(folder: str) -> str | None:
    """Returns the name of the checkpoint to resume from: the one in the file `checkpoint`, else the last epoch's."""
    pointer = osp.join(folder, POINTER)
    if osp.isfile(pointer):
        with open(pointer, encoding="utf-8", errors="replace") as file:
            name = file.readline(200).strip()
        if name != osp.basename(name) or not name.isprintable():
            raise ValueError(
                f"{pointer} must hold the name of a checkpoint in its folder, got {name!r}: remove this file"
            )
        if name:
            return name
    checkpoints = names(folder)  # the process was killed before it wrote the file `checkpoint`, or the file was lost
    return checkpoints[0] if checkpoints else None


def names(folder: str) -> list[str]:
    """Returns the checkpoints in `folder`: by epoch, the last one first, then the best on validation images.

    Example: ["model.pth.tar-10", "model.pth.tar-2", "model-best.pth.tar"].
    """
    files = os.listdir(folder) if osp.isdir(folder) else []
    epochs = []
    for file in files:
        match = EPOCH_FILE.fullmatch(file)
        if match:
            epochs.append(int(match[1]))
    checkpoints = [f"model.pth.tar-{epoch}" for epoch in sorted(epochs, reverse=True)]
    if BEST in files:
        checkpoints.append(BEST)
    return checkpoints


def read(path: str, bare: bool = False) -> dict:
    """Returns the content of a checkpoint and verifies its digest. With `bare`, the file may hold only a state_dict.

    Runs no code in the file. Of upstream's checkpoints, which contain Python objects, only the tensors are read.
    Checkpoints of other programs have no digest; only the checksums of the archive are verified.

    Raises:
        FileNotFoundError: no checkpoint at `path`.
        ValueError: the checkpoint is corrupted or has another format. Both messages name an intact
            checkpoint of the folder, if there is another one. Also if the file of an epoch holds another one.
    """
    if bare and osp.isdir(path):
        folders = [path, *(osp.join(path, name) for name in sorted(os.listdir(path)))]  # a run has one per model
        found = [osp.join(folder, name) for folder in folders for name in names(folder)]
        example = f", such as {found[0]}" if found else ""
        raise IsADirectoryError(f"MODEL.INIT_WEIGHTS {path} is a folder: give a checkpoint{example}")
    if not osp.isfile(path):
        keys = "MODEL.INIT_WEIGHTS" if bare else "--model-dir and --load-epoch"
        run = "" if bare else hint(osp.dirname(osp.dirname(path)))
        raise FileNotFoundError(f"no checkpoint at {path}: check {keys}. {alternative(path)}{run}")
    if path.endswith(".safetensors"):
        return tuned_weights.read(path, bare)
    try:
        state = _read(path, bare)
    except Exception as error:  # a corrupted file can raise anything
        reason = " ".join(str(error).split())[:150] or type(error).__name__
        raise ValueError(
            f"cannot read the checkpoint {path}: corrupted, or not a checkpoint ({reason}). {alternative(path)}"
        ) from error
    epoch = EPOCH_FILE.fullmatch(osp.basename(path))
    if epoch and state.get("epoch") not in (int(epoch[1]), None):
        problem = f"{path} holds epoch {state['epoch']}, not {epoch[1]}: the file was renamed or replaced"
        raise ValueError(f"{problem}. {alternative(path)}")
    return state


def _read(path: str, bare: bool = False) -> dict:
    if zipfile.is_zipfile(path):  # torch does not verify the checksums of the archive
        with zipfile.ZipFile(path) as archive:
            if torch_archive.is_torchscript(archive):  # torch.load would run code in it
                raise ValueError("it is a TorchScript archive")
            corrupted = archive.testzip()
            if corrupted:
                raise ValueError(f"wrong checksum of {corrupted}")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        state = _read_inert(path)
    if bare and isinstance(state, dict) and "state_dict" not in state:
        state = {"state_dict": {re.sub(r"^module\.", "", str(name)): tensor for name, tensor in state.items()}}
    if not isinstance(state, dict) or not isinstance(state.get("state_dict"), dict):
        raise ValueError("no state_dict")
    if not all(isinstance(tensor, torch.Tensor) for tensor in state["state_dict"].values()):
        raise ValueError("the state_dict contains more than tensors")
    saved_digest = state.pop("digest", None)
    if saved_digest is not None and saved_digest != digest(state):
        raise ValueError("the digest does not match")
    return state


def _read_inert(path: str) -> dict:
    """Reads a checkpoint that `weights_only=True` refuses, without building any object but tensors.

    There are two cases. Upstream Dassl's checkpoints contain Python objects (the schedule): returns only their tensors.
    torch 1.13 refuses our own checkpoints, which have a digest, because it does not accept floats: returns their whole
    content.
    """
    content = torch.load(path, map_location="cpu", pickle_module=inert_pickle, weights_only=False)
    if "digest" in content:
        return content
    tensors = {name: tensor.detach() for name, tensor in content["state_dict"].items()}
    print(f"Note: {path} contains Python objects: loading only its weights")
    return {"state_dict": tensors, "epoch": content.get("epoch")}


def alternative(path: str) -> str:
    """Returns advice for an error message about the checkpoint at `path`: the newest intact one, or how to continue."""
    folder = osp.dirname(path)
    for name in names(folder):
        if name == osp.basename(path):
            continue
        try:
            epoch = _read(osp.join(folder, name))["epoch"]
        except Exception:  # corrupted too
            continue
        option = "without --load-epoch" if name == BEST else f"with --load-epoch {epoch}"
        pointer = shlex.quote(osp.join(folder, POINTER))
        return f"{name} (epoch {epoch}) is intact: evaluate it {option}, or resume from it: echo {name} > {pointer}"
    return "There is no other checkpoint: restore a copy, or train again in another --output-dir"

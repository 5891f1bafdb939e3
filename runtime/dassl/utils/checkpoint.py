"""Checkpoints: written whole or not at all, read without running code that a file might carry."""

import io
import os
import pickle
import zipfile
from collections import OrderedDict

import torch
from torch import nn

from . import inert_pickle
from .rng import get_rng_state, set_rng_state
from .tools import mkdir_if_missing, open_atomic

POINTER = "checkpoint"  # text file beside the checkpoints that names the newest one


def save_checkpoint(
    state: dict,
    save_dir: str,
    is_best: bool = False,
    remove_module_from_keys: bool = True,
    model_name: str = "",
) -> None:
    """Write `state` and the random generators' states into `save_dir`, whose file `checkpoint` then names it.

    Args:
        state: holds at least state_dict and epoch (counted from 1).
        is_best: write model-best.pth.tar as well.
        remove_module_from_keys: strip DataParallel's "module." from parameter names.
        model_name: file name, model.pth.tar-<epoch> by default.
    """
    mkdir_if_missing(save_dir)
    state = {"random": get_rng_state(), **state}
    if remove_module_from_keys:
        state["state_dict"] = strip_module(state["state_dict"])
    name = model_name or f"model.pth.tar-{state['epoch']}"
    fpath = os.path.join(save_dir, name)
    content = io.BytesIO()  # torch answers a full disk with a RuntimeError of its archive writer
    torch.save(state, content)
    with open_atomic(fpath, "wb") as file:
        file.write(content.getbuffer())
    print(f"Checkpoint saved to {fpath}")
    with open_atomic(os.path.join(save_dir, POINTER)) as file:
        file.write(f"{name}\n")
    if is_best:
        best = os.path.join(save_dir, "model-best.pth.tar")
        with open_atomic(best, "wb") as file:
            file.write(content.getbuffer())
        print(f'Best checkpoint saved to "{best}"')


def load_checkpoint(fpath: str) -> dict:
    """The content of a checkpoint, its tensors on the CPU.

    Only tensors and plain values are read. If the file holds other Python objects, as upstream Dassl's do
    (their learning rate scheduler), only state_dict, epoch and val_result come back.

    Raises FileNotFoundError, or ValueError if the file is damaged or no checkpoint.
    """
    if fpath is None:
        raise ValueError("No checkpoint given: the path is None")
    if not os.path.isfile(fpath):
        raise FileNotFoundError(f'No checkpoint at "{fpath}"')
    try:
        _check_sums(fpath)
        content = torch.load(fpath, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        content = _load_foreign(fpath)
    except Exception as error:  # a damaged file can fail in any way
        raise _damaged(fpath, error) from error
    if not isinstance(content, dict):
        raise _damaged(fpath, f"it holds a {type(content).__name__}")
    return content


def _check_sums(fpath: str) -> None:
    """Raise ValueError where a part of the archive has changed since it was written; torch itself does not look."""
    if zipfile.is_zipfile(fpath):
        with zipfile.ZipFile(fpath) as archive:
            if part := archive.testzip():
                raise ValueError(f"{part} has another check sum")


def _load_foreign(fpath: str) -> dict:
    try:
        content = torch.load(fpath, map_location="cpu", weights_only=False, pickle_module=inert_pickle)
    except Exception as error:
        raise _damaged(fpath, error) from error
    keys = ("state_dict", "epoch", "val_result")
    kept = {key: content[key] for key in keys if key in content} if isinstance(content, dict) else {}
    tensors = kept.get("state_dict")
    if not isinstance(tensors, dict) or not all(isinstance(t, torch.Tensor) for t in tensors.values()):
        raise ValueError(f"{fpath} is not a checkpoint: it holds Python objects where tensors are expected")
    if not isinstance(kept.get("val_result"), (int, float)):
        kept["val_result"] = None
    print(f"{fpath} holds Python objects, which are not loaded; its weights are")
    return kept


def _damaged(fpath: str, error: Exception | str) -> ValueError:
    reason = (" ".join(str(error).split()) or type(error).__name__)[:200]
    return ValueError(f'"{fpath}" is damaged or not a checkpoint ({reason}): put an intact copy in its place')


def newest_checkpoint(fdir: str) -> str | None:
    """Path of the checkpoint that `fdir`/checkpoint names; None where nothing has been saved yet.

    Raises FileNotFoundError if the named file is gone.
    """
    pointer = os.path.join(fdir, POINTER)
    if not os.path.isfile(pointer):
        return None
    with open(pointer, encoding="utf-8") as file:
        name = file.readline().strip()
    fpath = os.path.join(fdir, name)
    if not name or not os.path.isfile(fpath):
        raise FileNotFoundError(
            f"{pointer} names {name!r}, which is not there: restore it, or delete {pointer} to start anew"
        )
    return fpath


def resume_from_checkpoint(fdir: str, model: nn.Module, optimizer=None, scheduler=None) -> int:
    """Restore model, optimiser, scheduler and random generators from the newest checkpoint in `fdir`.

    Returns:
        Number of finished epochs, which is the index of the next one.

    Raises FileNotFoundError, or ValueError if the checkpoint does not fit or cannot be resumed from.
    """
    fpath = newest_checkpoint(fdir)
    if fpath is None:
        raise FileNotFoundError(f"No file named {POINTER} in {fdir}: there is nothing to resume")
    print(f'Loading checkpoint from "{fpath}"')
    checkpoint = load_checkpoint(fpath)
    load_weights(model, checkpoint, fpath)
    print("Loaded model weights")
    for name, target in (("optimizer", optimizer), ("scheduler", scheduler)):
        if target is None:
            continue
        if checkpoint.get(name) is None:
            raise ValueError(
                f'"{fpath}" has no readable {name} state (upstream Dassl writes it so): '
                "it can be evaluated but not resumed; train in an empty OUTPUT_DIR"
            )
        try:
            _check_unchanged(target.state_dict(), checkpoint[name])
            target.load_state_dict(checkpoint[name])
        except (ValueError, KeyError) as error:
            raise _misfit(fpath, name, error) from error
        print(f"Loaded {name}")
    if "random" in checkpoint:
        set_rng_state(checkpoint["random"])
    print(f"Previous epoch: {checkpoint['epoch']}")
    return checkpoint["epoch"]


def _check_unchanged(current: dict, saved: dict) -> None:
    """Raise ValueError where a schedule's constants, such as the number of epochs, are not those of the file.

    Loading them would silently override the configuration; mixing them gives a schedule that nobody asked for.
    """
    for key in current.keys() & saved.keys() - {"last_epoch", "_step_count", "_last_lr", "param_groups", "state"}:
        if isinstance(current[key], dict) and isinstance(saved[key], dict) and key == "successor":
            _check_unchanged(current[key], saved[key])
        elif isinstance(current[key], (int, float, list, dict)) and current[key] != saved[key]:
            raise ValueError(f"{key} was {saved[key]}, is now {current[key]}")


def load_weights(model: nn.Module, checkpoint: dict, fpath: str) -> None:
    """Load a checkpoint's weights; what does not fit is a ValueError of one line that names the file `fpath`."""
    if "state_dict" not in checkpoint or "epoch" not in checkpoint:
        raise _damaged(fpath, "no state_dict or epoch in it")
    if isinstance(model, nn.DataParallel):
        model = model.module
    try:
        model.load_state_dict(checkpoint["state_dict"])
    except RuntimeError as error:
        raise _misfit(fpath, "model", error) from error


def _misfit(fpath: str, what: str, error: Exception) -> ValueError:
    reason = " ".join(str(error).split())
    reason = reason if len(reason) <= 400 else reason[:400] + " ..."
    return ValueError(
        f'"{fpath}" does not fit this {what}; use the trainer, backbone and options it was trained with, '
        f"or another OUTPUT_DIR ({reason})"
    )


def load_pretrained_weights(model: nn.Module, weight_path: str) -> None:
    """Copy into `model` the tensors of a file whose names and shapes fit; the others are listed.

    Raises ValueError if none fits.
    """
    checkpoint = load_checkpoint(weight_path)
    state_dict = strip_module(checkpoint.get("state_dict", checkpoint))
    own = model.state_dict()
    matched = {k: v for k, v in state_dict.items() if k in own and own[k].shape == getattr(v, "shape", None)}
    if not matched:
        raise ValueError(
            f"No tensor of {weight_path} fits the model: "
            f"the file has {list(state_dict)[:5]} ..., the model {list(own)[:5]} ..."
        )
    model.load_state_dict(matched, strict=False)
    print(f"Successfully loaded pretrained weights from {weight_path}")
    discarded = [k for k in state_dict if k not in matched]
    if discarded:
        print(f"Layers discarded due to unmatched keys or size: {discarded}")


def strip_module(state_dict: dict) -> OrderedDict:
    """The state dict with DataParallel's "module." taken off the names."""
    return OrderedDict((name.removeprefix("module."), value) for name, value in state_dict.items())

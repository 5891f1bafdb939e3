"""Checkpoints."""

import os
import shutil
from collections import OrderedDict

import torch
from torch import nn

from .tools import mkdir_if_missing

POINTER = "checkpoint"  # text file beside the checkpoints that names the newest one


def save_checkpoint(
    state: dict,
    save_dir: str,
    is_best: bool = False,
    remove_module_from_keys: bool = True,
    model_name: str = "",
) -> None:
    """Write `state` into `save_dir`, whose file `checkpoint` then names it.

    Args:
        state: holds at least state_dict and epoch (counted from 1).
        is_best: write model-best.pth.tar as well.
        remove_module_from_keys: strip DataParallel's "module." from parameter names.
        model_name: file name, model.pth.tar-<epoch> by default.
    """
    mkdir_if_missing(save_dir)
    if remove_module_from_keys:
        state = {**state, "state_dict": _strip_module(state["state_dict"])}
    fpath = os.path.join(save_dir, model_name or f"model.pth.tar-{state['epoch']}")
    torch.save(state, fpath)
    print(f"Checkpoint saved to {fpath}")
    with open(os.path.join(save_dir, POINTER), "w", encoding="utf-8") as file:
        file.write(f"{os.path.basename(fpath)}\n")
    if is_best:
        best = os.path.join(save_dir, "model-best.pth.tar")
        shutil.copy(fpath, best)
        print(f'Best checkpoint saved to "{best}"')


def load_checkpoint(fpath: str) -> dict:
    """The content of a checkpoint, its tensors on the CPU.

    Raises FileNotFoundError, or ValueError if the file is damaged or holds Python objects, whose loading runs code.
    """
    if fpath is None:
        raise ValueError("No checkpoint given: the path is None")
    if not os.path.isfile(fpath):
        raise FileNotFoundError(f'No checkpoint at "{fpath}"')
    try:
        content = torch.load(fpath, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f'Cannot load the checkpoint "{fpath}": if it is damaged, restore a copy; if it holds Python objects and '
            f"you trust it, save its tensors anew, read with torch.load(..., weights_only=False) ({reason})"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f'"{fpath}" is no checkpoint: it holds a {type(content).__name__}, not a dict')
    return content


def newest_checkpoint(fdir: str) -> str | None:
    """Path of the checkpoint that `fdir`/checkpoint names; None where nothing has been saved yet."""
    pointer = os.path.join(fdir, POINTER)
    if not os.path.isfile(pointer):
        return None
    with open(pointer, encoding="utf-8") as file:
        return os.path.join(fdir, file.readline().strip())


def resume_from_checkpoint(fdir: str, model: nn.Module, optimizer=None, scheduler=None) -> int:
    """Restore model, optimiser and scheduler from the newest checkpoint in `fdir`.

    Returns:
        Number of finished epochs, which is the index of the next one.

    Raises FileNotFoundError, or ValueError if the checkpoint does not fit.
    """
    fpath = newest_checkpoint(fdir)
    if fpath is None:
        raise FileNotFoundError(f"No file named {POINTER} in {fdir}: there is nothing to resume")
    print(f'Loading checkpoint from "{fpath}"')
    checkpoint = load_checkpoint(fpath)
    if scheduler is not None:
        check_schedule(scheduler, checkpoint, fpath)
    parts = {"state_dict": model, "optimizer": optimizer, "scheduler": scheduler}
    for key, part in parts.items():
        if part is not None:
            load_part(part, checkpoint, key, fpath)
            print(f"Loaded {'model weights' if part is model else key}")
    print(f"Previous epoch: {checkpoint['epoch']}")
    return checkpoint["epoch"]


def check_schedule(scheduler, checkpoint: dict, fpath: str) -> None:
    """Raise ValueError if the file's schedule has other constants than OPTIM, which loading would silently override."""
    saved = checkpoint.get("scheduler") or {}
    saved = saved.get("successor", saved)
    current = getattr(scheduler, "successor", scheduler).state_dict()
    for key in ("base_lrs", "T_max", "step_size", "milestones", "gamma"):
        if key in saved and saved[key] != current.get(key):
            raise ValueError(
                f'"{fpath}" does not fit: {key} of its schedule is {saved[key]}, OPTIM gives {current.get(key)}; '
                "use the options it was trained with, or another OUTPUT_DIR"
            )


def load_part(part, checkpoint: dict, key: str, fpath: str) -> None:
    """`part.load_state_dict(checkpoint[key])`; what does not fit is a ValueError of one line that names the file."""
    if isinstance(part, nn.DataParallel):
        part = part.module  # names are saved without its prefix
    try:
        part.load_state_dict(checkpoint[key])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:400]
        raise ValueError(
            f'"{fpath}" does not fit: its {key} cannot be loaded; use the trainer, backbone and options it was trained '
            f"with, or another OUTPUT_DIR ({type(error).__name__}: {reason})"
        ) from error


def load_pretrained_weights(model: nn.Module, weight_path: str) -> None:
    """Copy into `model` the tensors of a file whose names and shapes fit; the others are listed.

    Raises ValueError if none fits.
    """
    checkpoint = load_checkpoint(weight_path)
    state_dict = _strip_module(checkpoint.get("state_dict", checkpoint))
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


def _strip_module(state_dict: dict) -> OrderedDict:
    """The state dict with DataParallel's "module." taken off the names."""
    return OrderedDict((name.removeprefix("module."), value) for name, value in state_dict.items())

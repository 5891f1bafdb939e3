"""Saves, loads and resumes checkpoints."""

import os
import shutil
from collections import OrderedDict

import torch
from torch import nn

from .tools import mkdir_if_missing

POINTER = "checkpoint"  # text file in the folder of the checkpoints; holds the name of the newest one


def save_checkpoint(
    state: dict,
    save_dir: str,
    is_best: bool = False,
    remove_module_from_keys: bool = True,
    model_name: str = "",
) -> None:
    """Saves `state` to a file in `save_dir` and writes its name to the file `checkpoint`.

    Args:
        state: has at least the keys state_dict and epoch (counted from 1).
        is_best: also save it as model-best.pth.tar.
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
    """Loads a checkpoint, with its tensors on the CPU.

    Raises FileNotFoundError, or ValueError if the file is corrupted or holds Python objects, whose loading runs code.
    """
    if fpath is None:
        raise ValueError("No checkpoint given: the path is None")
    if not os.path.isfile(fpath):
        raise FileNotFoundError(f'No checkpoint at "{fpath}"')
    try:
        content = torch.load(fpath, map_location="cpu", weights_only=True)
    except Exception as error:  # a corrupted file can raise any exception
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f'Cannot load the checkpoint "{fpath}" ({reason}): if it is corrupted, restore a copy; if it holds Python '
            "objects and you trust it, read it with torch.load(..., weights_only=False) and save its tensors only"
        ) from error
    if not isinstance(content, dict):
        raise ValueError(f'"{fpath}" is not a checkpoint: it holds a {type(content).__name__}, not a dict')
    return content


def newest_checkpoint(fdir: str) -> str | None:
    """Returns the path of the checkpoint named in `fdir`/checkpoint; None if no checkpoint has been saved."""
    pointer = os.path.join(fdir, POINTER)
    if not os.path.isfile(pointer):
        return None
    with open(pointer, encoding="utf-8") as file:
        return os.path.join(fdir, file.readline().strip())


def resume_from_checkpoint(fdir: str, model: nn.Module, optimizer=None, scheduler=None) -> int:
    """Restores model, optimiser and scheduler from the newest checkpoint in `fdir`.

    Returns:
        The number of finished epochs, which is the index of the next epoch.

    Raises FileNotFoundError, or ValueError if the checkpoint does not fit.
    """
    fpath = newest_checkpoint(fdir)
    if fpath is None:
        raise FileNotFoundError(f"No file {POINTER!r} in {fdir}, so there is no checkpoint to resume: check the folder")
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
    """Raises ValueError if constants of the saved schedule differ from OPTIM; loading would silently override OPTIM."""
    saved = checkpoint.get("scheduler") or {}
    saved = saved.get("successor", saved)
    current = getattr(scheduler, "successor", scheduler).state_dict()
    for key in ("base_lrs", "T_max", "step_size", "milestones", "gamma"):
        if key in saved and saved[key] != current.get(key):
            raise ValueError(
                f'Cannot resume from "{fpath}": {key} of its schedule is {saved[key]}, OPTIM gives {current.get(key)}; '
                "use the options of that run, or another OUTPUT_DIR"
            )


def load_part(part, checkpoint: dict, key: str, fpath: str) -> None:
    """Calls `part.load_state_dict(checkpoint[key])`. If it fails, raises ValueError with one line."""
    if isinstance(part, nn.DataParallel):
        part = part.module  # names are saved without the prefix "module."
    try:
        part.load_state_dict(checkpoint[key])
    except (RuntimeError, ValueError, KeyError, TypeError, AttributeError) as error:
        reason = " ".join(str(error).split())[:400]
        raise ValueError(
            f'Cannot load {key} from "{fpath}" ({type(error).__name__}: {reason}): use the trainer, backbone and '
            "options of that run, or another OUTPUT_DIR"
        ) from error


def load_pretrained_weights(model: nn.Module, weight_path: str) -> None:
    """Copies the tensors of a file whose name and shape match into `model`; prints the names of the others.

    Raises ValueError if no tensor matches.
    """
    checkpoint = load_checkpoint(weight_path)
    state_dict = _strip_module(checkpoint.get("state_dict", checkpoint))
    model_state = model.state_dict()
    matched = {}
    for name, value in state_dict.items():
        if name in model_state and model_state[name].shape == getattr(value, "shape", None):
            matched[name] = value
    if not matched:
        raise ValueError(
            f"No tensor of {weight_path} matches the model in name and shape: "
            f"the file has {list(state_dict)[:5]} ..., the model has {list(model_state)[:5]} ..."
        )
    model.load_state_dict(matched, strict=False)
    print(f"Successfully loaded pretrained weights from {weight_path}")
    discarded = [name for name in state_dict if name not in matched]
    if discarded:
        print(f"Layers discarded due to unmatched keys or size: {discarded}")


def _strip_module(state_dict: dict) -> OrderedDict:
    """Removes DataParallel's prefix "module." from the names of a state dict."""
    return OrderedDict((name.removeprefix("module."), value) for name, value in state_dict.items())

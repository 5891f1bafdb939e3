"""Checkpoints; counting, freezing and initialising parameters."""

import os
import shutil
from collections import OrderedDict
from collections.abc import Iterable

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
        return torch.load(fpath, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file can fail in any way
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise ValueError(
            f'Cannot load the checkpoint "{fpath}": if it is damaged, restore a copy; if it holds Python objects and '
            f"you trust it, save its tensors anew, read with torch.load(..., weights_only=False) ({reason})"
        ) from error


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
    parts = {"state_dict": model, "optimizer": optimizer, "scheduler": scheduler}
    for key, part in parts.items():
        if part is not None:
            load_part(part, checkpoint, key, fpath)
            print(f"Loaded {'model weights' if part is model else key}")
    print(f"Previous epoch: {checkpoint['epoch']}")
    return checkpoint["epoch"]


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


def set_bn_to_eval(m: nn.Module) -> None:
    """Fix the statistics of a BatchNorm layer; its gain and bias stay trainable. For `model.apply`."""
    if "BatchNorm" in type(m).__name__:
        m.eval()


def open_all_layers(model: nn.Module) -> None:
    """Make every parameter trainable and set train mode."""
    model.train()
    model.requires_grad_(True)


def open_specified_layers(model: nn.Module, open_layers: str | list[str]) -> None:
    """Train the named children only, the others frozen in eval mode. Raises ValueError on unknown names."""
    if isinstance(model, nn.DataParallel):
        model = model.module
    if isinstance(open_layers, str):
        open_layers = [open_layers]
    children = dict(model.named_children())
    unknown = [name for name in open_layers if name not in children]
    if unknown:
        raise ValueError(f"open_layers must be among {list(children)}, got {unknown}")
    for name, module in children.items():
        module.train(name in open_layers)
        module.requires_grad_(name in open_layers)


def count_num_param(model: nn.Module | None = None, params: Iterable | None = None) -> int:
    """Number of scalars in a model, or in an iterable of parameters or parameter groups."""
    if model is not None:
        return sum(p.numel() for p in model.parameters())
    if params is None:
        raise ValueError("count_num_param() needs a model or params")
    total = 0
    for p in params:
        group = p["params"] if isinstance(p, dict) else p
        total += group.numel() if hasattr(group, "numel") else sum(q.numel() for q in group)
    return total


def init_network_weights(model: nn.Module, init_type: str = "normal", gain: float = 0.02) -> None:
    """Initialise convolutions and linear layers by `init_type`, normalisation layers to one and zero."""
    inits = {
        "normal": lambda w: nn.init.normal_(w, 0.0, gain),
        "xavier": lambda w: nn.init.xavier_normal_(w, gain=gain),
        "kaiming": lambda w: nn.init.kaiming_normal_(w, a=0, mode="fan_in"),
        "orthogonal": lambda w: nn.init.orthogonal_(w, gain=gain),
    }
    if init_type not in inits:
        raise ValueError(f"init_type must be one of {list(inits)}, got {init_type!r}")

    def init(m: nn.Module) -> None:
        name = type(m).__name__
        weight, bias = getattr(m, "weight", None), getattr(m, "bias", None)
        if weight is None:
            return
        if "Conv" in name or "Linear" in name:
            inits[init_type](weight)
        elif "BatchNorm" in name or "InstanceNorm" in name:
            nn.init.ones_(weight)
        else:
            return
        if bias is not None:
            nn.init.zeros_(bias)

    model.apply(init)

"""Torch's optimisers by Dassl's names."""

import warnings

import torch
from torch import nn

from dassl.utils import check_availability

from .radam import RAdam

AVAI_OPTIMS = ["adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw"]


def build_optimizer(model, optim_cfg, param_groups=None) -> torch.optim.Optimizer:
    """The optimiser that OPTIM.NAME names.

    Args:
        model: a module, or an iterable of parameters or parameter groups.
        param_groups: used in place of `model`, whatever OPTIM.STAGED_LR says.

    Raises ValueError on an unknown name or layer, or where there is nothing to optimise.
    """
    c = optim_cfg
    check_availability(c.NAME, AVAI_OPTIMS, what="OPTIM.NAME")
    if param_groups is not None and c.STAGED_LR:
        warnings.warn("OPTIM.STAGED_LR has no effect on given param_groups", stacklevel=2)
    if param_groups is None:
        if c.STAGED_LR:
            param_groups = _staged_groups(model, c)
        else:
            param_groups = model.parameters() if isinstance(model, nn.Module) else model

    common = {"lr": c.LR, "weight_decay": c.WEIGHT_DECAY}
    betas = (c.ADAM_BETA1, c.ADAM_BETA2)
    if c.NAME == "sgd":
        return torch.optim.SGD(
            param_groups, momentum=c.MOMENTUM, dampening=c.SGD_DAMPNING, nesterov=c.SGD_NESTEROV, **common
        )
    if c.NAME == "rmsprop":
        return torch.optim.RMSprop(param_groups, momentum=c.MOMENTUM, alpha=c.RMSPROP_ALPHA, **common)
    if c.NAME == "radam":
        return RAdam(param_groups, betas=betas, **common)
    if c.NAME == "adamw":
        return torch.optim.AdamW(param_groups, betas=betas, **common)
    return torch.optim.Adam(param_groups, betas=betas, amsgrad=c.NAME == "amsgrad", **common)


def _staged_groups(model, c) -> list[dict]:
    """Children named in NEW_LAYERS learn at LR, the others at LR * BASE_LR_MULT."""
    if not isinstance(model, nn.Module):
        raise TypeError("OPTIM.STAGED_LR needs a module, not a list of parameters")
    if isinstance(model, nn.DataParallel):
        model = model.module
    new_layers = [c.NEW_LAYERS] if isinstance(c.NEW_LAYERS, str) else list(c.NEW_LAYERS)
    children = dict(model.named_children())
    unknown = [name for name in new_layers if name not in children]
    if unknown or not new_layers:
        raise ValueError(f"OPTIM.NEW_LAYERS must name some of {list(children)}, got {new_layers}")
    groups = {True: [], False: []}
    for name, module in children.items():
        groups[name in new_layers] += module.parameters()
    return [{"params": groups[False], "lr": c.LR * c.BASE_LR_MULT}, {"params": groups[True]}]

"""Builds torch's optimisers by Dassl's names."""

import warnings

import torch
from torch import nn

from dassl.utils import check_availability

from .radam import RAdam

AVAI_OPTIMS = ["adam", "amsgrad", "sgd", "rmsprop", "radam", "adamw"]


def build_optimizer(model, optim_cfg, param_groups=None) -> torch.optim.Optimizer:
    """Builds the optimiser OPTIM.NAME.

    Args:
        model: a module, or an iterable of parameters or parameter groups.
        param_groups: used instead of `model`; OPTIM.STAGED_LR then has no effect.

    Raises ValueError if a name or layer is unknown, or if there is no parameter to optimise.
    """
    c = optim_cfg
    check_availability(c.NAME, AVAI_OPTIMS, key="OPTIM.NAME")
    if param_groups is not None and c.STAGED_LR:
        warnings.warn("OPTIM.STAGED_LR True has no effect, since param_groups are given", stacklevel=2)
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
    """Returns two parameter groups: children in NEW_LAYERS with LR, all others with LR * BASE_LR_MULT."""
    if not isinstance(model, nn.Module):
        raise TypeError("OPTIM.STAGED_LR True needs a module, got parameters: pass the module, or set it to False")
    if isinstance(model, nn.DataParallel):
        model = model.module
    new_layers = [c.NEW_LAYERS] if isinstance(c.NEW_LAYERS, str) else list(c.NEW_LAYERS)
    children = dict(model.named_children())
    unknown = [name for name in new_layers if name not in children]
    if unknown or not new_layers:
        raise ValueError(f"OPTIM.NEW_LAYERS must name at least one of {list(children)}, got {new_layers}")
    base_params = []
    new_params = []
    for name, module in children.items():
        params = new_params if name in new_layers else base_params
        params += module.parameters()
    return [{"params": base_params, "lr": c.LR * c.BASE_LR_MULT}, {"params": new_params}]

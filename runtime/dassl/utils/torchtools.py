"""Counts, freezes and initializes parameters."""

from collections.abc import Iterable

from torch import nn

from .checkpoint import (  # noqa: F401  (as in upstream Dassl, some trainers import these names from here)
    load_checkpoint,
    load_pretrained_weights,
    resume_from_checkpoint,
    save_checkpoint,
)


def set_bn_to_eval(m: nn.Module) -> None:
    """Sets a BatchNorm layer to eval mode; its weight and bias stay trainable. For `model.apply`."""
    if "BatchNorm" in type(m).__name__:
        m.eval()


def open_all_layers(model: nn.Module) -> None:
    """Makes all parameters trainable and sets train mode."""
    model.train()
    model.requires_grad_(True)


def open_specified_layers(model: nn.Module, open_layers: str | list[str]) -> None:
    """Makes the named children trainable and freezes the others in eval mode. Raises ValueError on unknown names."""
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
    """Returns the number of parameters (scalars) in a model, or in an iterable of parameters or parameter groups."""
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
    """Initializes convolutions and linear layers by `init_type`; normalisation layers get weight 1 and bias 0."""
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
        weight = getattr(m, "weight", None)
        bias = getattr(m, "bias", None)
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

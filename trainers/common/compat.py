"""What lets the methods run on upstream Dassl and on torch from 1.13 on; each part is active only where it is needed.

- Dassl 0.6.3 and older hand torch's scheduler the argument `verbose`, which torch 2.7 removed: `mend_warmup`.
- Their warm-up schedulers put a Python object into `state_dict()`: `scheduler_state` and `load_scheduler_state`.
- Their `load_checkpoint` runs code that a file may carry, or, from torch 2.6 on, refuses the file: not used at all,
  see `checkpoint_file.read`.
- torch 1.13 lacks `torch.func` and `scaled_dot_product_attention`, torch before 2.3 `torch.amp.GradScaler`.
"""

from __future__ import annotations

import inspect

import torch
import torch.nn.functional as F
from torch.optim.lr_scheduler import _LRScheduler

from dassl.optim import lr_scheduler as dassl_schedules

try:
    from torch.func import functional_call
except ImportError:
    from torch.nn.utils.stateless import functional_call

__all__ = [
    "attention",
    "autocast_on_cpu",
    "functional_call",
    "is_compiling",
    "load_scheduler_state",
    "make_scaler",
    "mend_warmup",
    "scheduler_state",
]


def mend_warmup() -> None:
    """Let upstream Dassl's warm-up schedulers be built on a torch without the argument `verbose`."""
    base = getattr(dassl_schedules, "_BaseWarmupScheduler", None)
    if base is None or "verbose" in inspect.signature(_LRScheduler.__init__).parameters:
        return

    def init(self, optimizer, successor, warmup_epoch, last_epoch=-1, verbose=False):
        self.successor, self.warmup_epoch = successor, warmup_epoch
        _LRScheduler.__init__(self, optimizer, last_epoch)

    base.__init__ = init


mend_warmup()


def scheduler_state(scheduler) -> dict:
    """A schedule's state as plain values, that of the schedule which follows its warm-up included."""
    plain = (int, float, str, bool, list, dict, type(None))
    state = {key: value for key, value in scheduler.state_dict().items() if isinstance(value, plain)}
    if hasattr(scheduler, "successor"):
        state["successor"] = scheduler_state(scheduler.successor)
    return state


def load_scheduler_state(scheduler, state: dict) -> None:
    """Undo of `scheduler_state`. The successor keeps driving the present optimiser, unlike after upstream's own."""
    state = dict(state)
    if hasattr(scheduler, "successor"):
        load_scheduler_state(scheduler.successor, state.pop("successor"))
    scheduler.__dict__.update(state)


def make_scaler(device: torch.device, enabled: bool):
    """Loss scaling for fp16, starting from 1024."""
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device.type, init_scale=2.0**10, enabled=enabled)
    return torch.cuda.amp.GradScaler(init_scale=2.0**10, enabled=enabled)


def plain_attention(q, k, v, attn_mask: torch.Tensor | None = None, is_causal: bool = False) -> torch.Tensor:
    """softmax(q k^T / sqrt(d)) v for q (..., s, d), k and v (..., t, d); `attn_mask` (s, t) is true where seen."""
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (..., s, t)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    return scores.softmax(dim=-1) @ v


def autocast_on_cpu() -> bool:
    """Whether autocast is on for the CPU; the general question takes a device from torch 2.4 on."""
    try:
        return torch.is_autocast_enabled("cpu")
    except TypeError:
        return torch.is_autocast_cpu_enabled()


is_compiling = getattr(getattr(torch, "compiler", None), "is_compiling", lambda: False)
attention = getattr(F, "scaled_dot_product_attention", plain_attention)

"""Compatibility with upstream Dassl and with torch 1.13 and later. Each part is active only if it is needed.

- Dassl 0.6.3 and earlier pass `verbose` to torch's scheduler; torch 2.7 removed it. See `patch_warmup`.
- Their warm-up schedulers put a Python object into `state_dict()`. See `scheduler_state` and `load_scheduler_state`.
- Their `load_checkpoint` runs code in the file or, with torch 2.6 and later, fails. `checkpoint_file.read` replaces it.
- Their `read_image` takes paths only, and turns no image upright. See `read_rgb`.
- torch 1.13 has no `torch.func` and no `scaled_dot_product_attention`; torch before 2.3 has no `torch.amp.GradScaler`.
"""

from __future__ import annotations

import inspect
import os

import numpy as np
import torch
import torch.nn.functional as F
from PIL import Image
from torch.optim.lr_scheduler import _LRScheduler

from dassl.optim import lr_scheduler as dassl_schedules
from dassl.utils import read_image

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
    "patch_warmup",
    "read_rgb",
    "scheduler_state",
]


def patch_warmup() -> None:
    """Makes upstream Dassl's warm-up schedulers work with a torch whose schedulers do not accept `verbose`."""
    base = getattr(dassl_schedules, "_BaseWarmupScheduler", None)
    if base is None or "verbose" in inspect.signature(_LRScheduler.__init__).parameters:
        return

    def init(self, optimizer, successor, warmup_epoch, last_epoch=-1, verbose=False):
        self.successor = successor
        self.warmup_epoch = warmup_epoch
        _LRScheduler.__init__(self, optimizer, last_epoch)

    base.__init__ = init


patch_warmup()


def scheduler_state(scheduler) -> dict:
    """Returns a schedule's state as plain values, including the schedule that follows a warm-up."""
    plain_types = (int, float, str, bool, list, dict, type(None))
    state = {key: value for key, value in scheduler.state_dict().items() if isinstance(value, plain_types)}
    if hasattr(scheduler, "successor"):
        state["successor"] = scheduler_state(scheduler.successor)
    return state


def load_scheduler_state(scheduler, state: dict) -> None:
    """Restores the state from `scheduler_state`. Unlike upstream's code, keeps the successor's optimiser."""
    state = dict(state)
    if hasattr(scheduler, "successor"):
        load_scheduler_state(scheduler.successor, state.pop("successor"))
    scheduler.__dict__.update(state)


READS_ALL_IMAGES = "exif" in inspect.signature(read_image).parameters  # the bundled Dassl


def read_rgb(image, input_options) -> Image.Image:
    """Returns a path, PIL image or array as an RGB image, read as the data loader of a run reads its images.

    `input_options` is cfg.INPUT of the run. Upstream's data loader leaves the scaling of deep images to Pillow.
    """
    if READS_ALL_IMAGES:
        return read_image(image, input_options.EXIF_ORIENTATION, input_options.CROP_BORDER)
    if isinstance(image, (str, os.PathLike)):
        return read_image(os.fspath(image))
    image = Image.fromarray(image) if isinstance(image, np.ndarray) else image
    return image.convert("RGB")


def make_scaler(device: torch.device, enabled: bool):
    """Returns a gradient scaler for fp16 with an initial loss scale of 1024."""
    if hasattr(torch.amp, "GradScaler"):
        return torch.amp.GradScaler(device.type, init_scale=2.0**10, enabled=enabled)
    return torch.cuda.amp.GradScaler(init_scale=2.0**10, enabled=enabled)


def plain_attention(q, k, v, attn_mask: torch.Tensor | None = None, is_causal: bool = False) -> torch.Tensor:
    """Returns softmax(q k^T / sqrt(d)) v for q (..., s, d), k and v (..., t, d).

    `attn_mask[i, j]` (s, t) is true if query i attends to key j.
    """
    scores = q @ k.transpose(-2, -1) * q.shape[-1] ** -0.5  # (..., s, t)
    if is_causal:
        attn_mask = torch.ones(scores.shape[-2:], dtype=torch.bool, device=q.device).tril()
    if attn_mask is not None:
        scores = scores.masked_fill(~attn_mask, float("-inf"))
    return scores.softmax(dim=-1) @ v


def autocast_on_cpu() -> bool:
    """Whether autocast is enabled for the CPU. `is_autocast_enabled` accepts a device since torch 2.4."""
    try:
        return torch.is_autocast_enabled("cpu")
    except TypeError:
        return torch.is_autocast_cpu_enabled()


is_compiling = getattr(getattr(torch, "compiler", None), "is_compiling", lambda: False)
attention = getattr(F, "scaled_dot_product_attention", plain_attention)

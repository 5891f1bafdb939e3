"""How images become the input of a backbone, and the config keys that say so."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

from dassl.config import cfg_default, get_cfg_default

# True: INPUT keys follow the backbone where they have Dassl's or OpenAI's values. False: they are used as they are
cfg_default.MODEL.BACKBONE.PREPROCESS = True
RESIZE_MODES = ("shortest", "squash") if "RESIZE_MODE" in cfg_default.INPUT else ("shortest",)  # of upstream Dassl
cfg_default.INPUT.RESIZE_MODE = "shortest"


@dataclass(frozen=True)
class Preprocess:
    """What a backbone expects. The default is OpenAI's.

    Attributes:
        size: side of the square input, in pixels; None: not known before the weights are there.
        mean, std: statistics of the three channels, of pixels in [0, 1].
        interpolation: "bicubic", "bilinear" or "nearest".
        resize_mode: "shortest" (resize the shorter side, crop the centre) or "squash" (resize both sides).
    """

    size: int | None = 224
    mean: tuple[float, float, float] = (0.48145466, 0.4578275, 0.40821073)
    std: tuple[float, float, float] = (0.26862954, 0.26130258, 0.27577711)
    interpolation: str = "bicubic"
    resize_mode: str = "shortest"

    def keys(self) -> dict:
        """Returns the values of the keys below INPUT."""
        return {
            "SIZE": self.size and (self.size, self.size),
            "PIXEL_MEAN": list(self.mean),
            "PIXEL_STD": list(self.std),
            "INTERPOLATION": self.interpolation,
            "RESIZE_MODE": self.resize_mode,
        }


def follow(cfg, preprocess: Preprocess) -> None:
    """Sets the INPUT keys that have Dassl's or OpenAI's values to those of the backbone, and checks the size.

    Raises:
        ValueError: a size that does not fit, or a way to resize that this Dassl does not have.
    """
    default, openai = get_cfg_default().INPUT, Preprocess().keys()
    changes = {}
    for key, value in preprocess.keys().items():
        given = _plain(cfg.INPUT[key])
        if value is not None and given != _plain(value) and given in (_plain(default[key]), _plain(openai[key])):
            changes[key] = value
    if cfg.MODEL.BACKBONE.PREPROCESS and changes:
        frozen = cfg.is_frozen()
        cfg.defrost()
        for key, value in changes.items():
            cfg.INPUT[key] = value
        if frozen:
            cfg.freeze()
        if "SIZE" in changes:
            size, name = cfg.INPUT.SIZE, cfg.MODEL.BACKBONE.NAME
            note(f"INPUT.SIZE is {size}, the input size of {name}, instead of the default {tuple(default.SIZE)}")
    check_size(cfg, preprocess.size)
    if cfg.INPUT.RESIZE_MODE not in RESIZE_MODES:
        raise ValueError(f"INPUT.RESIZE_MODE must be one of {RESIZE_MODES}, got {cfg.INPUT.RESIZE_MODE!r}")


def _plain(value):
    return tuple(value) if isinstance(value, (list, tuple)) else value


@lru_cache(maxsize=None)
def note(text: str) -> None:
    """Prints a note once per process."""
    print(f"Note: {text}")


def check_size(cfg, side: int | None) -> None:
    """Raises ValueError if INPUT.SIZE is not `side`, the input size of the backbone."""
    if side is not None and tuple(cfg.INPUT.SIZE) != (side, side):
        raise ValueError(
            f"INPUT.SIZE must be {(side, side)} for {cfg.MODEL.BACKBONE.NAME}, got {cfg.INPUT.SIZE!r}: "
            f'add INPUT.SIZE "({side}, {side})", or leave it out'
        )


def differences(cfg, preprocess: Preprocess) -> str:
    """Returns a note if the INPUT keys differ from what the backbone expects, else ""."""
    keys = {key: value for key, value in preprocess.keys().items() if _plain(cfg.INPUT[key]) != _plain(value)}
    if not keys:
        return ""
    given = ", ".join(f"INPUT.{key} {cfg.INPUT[key]} (backbone: {value})" for key, value in keys.items())
    return f"Note: images are not prepared as {cfg.MODEL.BACKBONE.NAME} expects: {given}"

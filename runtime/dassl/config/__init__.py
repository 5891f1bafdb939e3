"""The default configuration. Trainer and dataset modules add their keys to `cfg_default`."""

from yacs.config import CfgNode

from .defaults import cfg_default

__all__ = ["cfg_default", "get_cfg_default", "clean_cfg"]


def get_cfg_default() -> CfgNode:
    """Returns a copy of the default configuration."""
    return cfg_default.clone()


def clean_cfg(cfg: CfgNode, trainer: str) -> None:
    """Removes the sections of all trainers but `trainer` from `cfg.TRAINER`, to print a shorter configuration."""
    for key in set(cfg.TRAINER) - {"NAME", trainer.upper()}:
        cfg.TRAINER.pop(key)

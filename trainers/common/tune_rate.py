"""OPTIM.TUNE_LR: a learning rate for the parameters of CLIP that a method tunes in addition to its own.

The optimiser has two groups of parameters. Both rates follow one schedule, the warm-up included.
"""

from __future__ import annotations

from dassl.config import cfg_default

cfg_default.OPTIM.TUNE_LR = -1.0  # rate of the parameter sets in TUNE; -1: OPTIM.LR


def check(method: type, cfg) -> None:
    """Raises ValueError if OPTIM.TUNE_LR is not allowed, or the method does not have both kinds of parameters."""
    rate, key = cfg.OPTIM.TUNE_LR, f"TRAINER.{method.section}.TUNE"
    if rate == -1:
        return
    if rate <= 0 or cfg.OPTIM.LR <= 0:
        raise ValueError(f"OPTIM.TUNE_LR must be -1, or above 0 like OPTIM.LR, got {rate} and OPTIM.LR {cfg.OPTIM.LR}")
    if not method.trainable or method.tunes_sets_only():
        raise ValueError(
            f"OPTIM.TUNE_LR {rate:g} needs a method with parameters of its own, but {cfg.TRAINER.NAME} has none: set "
            "OPTIM.LR instead, and OPTIM.TUNE_LR -1"
        )
    if not (cfg.TRAINER[method.section].get("TUNE", ()) or cfg.MODEL.START_TUNE):
        raise ValueError(f"OPTIM.TUNE_LR {rate:g} is the rate of parameter sets, but {key} names none: set {key}")


def groups(trainer) -> list[dict] | None:
    """Returns the method's own parameters and those of CLIP as groups for the optimiser; None without TUNE_LR."""
    rate = trainer.cfg.OPTIM.TUNE_LR
    if rate == -1:
        return None
    of_clip = {name: trainer.tuned.get_parameter(name) for name in trainer.clip_names}
    own = [p for name, p in trainer.tuned.named_parameters() if p.requires_grad and name not in of_clip]
    return [{"params": own}, {"params": list(of_clip.values()), "lr": rate}]


def scale(trainer) -> None:
    """Sets the rate of CLIP's parameters to TUNE_LR / LR times that of the method's own.

    Call this after each change of the rates: Dassl's warm-up gives all groups the same rate.
    """
    optim = trainer.cfg.OPTIM
    if trainer.optim and optim.TUNE_LR != -1:
        own, of_clip = trainer.optim.param_groups
        of_clip["lr"] = own["lr"] * optim.TUNE_LR / optim.LR

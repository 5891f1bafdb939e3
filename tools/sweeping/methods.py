"""Lists the registered methods and tells which protocols and backbones they do not support."""

import contextlib
import sys

from tools.recipe import read_table


def registered_methods() -> dict[str, type]:
    """Returns name -> trainer class of ours and of the plugins, in the order of configs/recipes.yaml, then by name."""
    from dassl.engine import TRAINER_REGISTRY
    from trainers import register_all

    register_all()
    classes = {name: TRAINER_REGISTRY.get(name) for name in TRAINER_REGISTRY.registered_names()}
    in_table = [name for name in read_table() if name in classes]
    others = sorted((name for name in classes if name not in in_table), key=str.lower)
    return {name: classes[name] for name in (*in_table, *others) if is_method(classes[name])}


def is_method(trainer: type) -> bool:
    """Returns False for Dassl's own domain adaptation trainers and for aliases of other methods."""
    return not trainer.__module__.startswith("dassl.") and not getattr(trainer, "alias_of", "")


def select_methods(names: list[str], protocol: str, backbone: str) -> list[str]:
    """Returns the methods to run, by our names. For ["all"], prints the methods that it skips.

    Raises:
        ValueError: If a method is unknown, or if a named method does not support the protocol or the backbone.
    """
    from trainers import our_name

    trainers = registered_methods()
    names = [our_name(name) for name in names]
    select_all = names == ["all"]
    for name in names:
        if name not in trainers and not select_all:
            raise ValueError(f"unknown method {name!r}; available: {', '.join(trainers)}")
    selected = []
    for name in trainers if select_all else dict.fromkeys(names):
        reason = why_unsupported(name, trainers[name], protocol, backbone)
        if not reason:
            selected.append(name)
        elif select_all:
            print(f"Skipped: {reason}", file=sys.stderr)
        else:
            raise ValueError(reason)
    return selected


def why_unsupported(method: str, trainer: type, protocol: str, backbone: str) -> str:
    """Returns why a method cannot run a protocol on a backbone, in one line, or "" if it can."""
    if protocol == "base2new" and getattr(trainer, "per_class", False):
        return f"{method} does not support base2new: it learns parameters per class and cannot predict new classes"
    if protocol == "retrieval" and not getattr(trainer, "takes_captions", lambda: False)():
        return f"{method} does not support retrieval: it needs classes and cannot be trained on captions"
    if getattr(trainer, "needs_vit", False) and backbone:
        from trainers.common.models.backbones import image_tokens_obstacle
        from trainers.common.tuned_clip import NEEDS_VIT

        with contextlib.suppress(ValueError, OSError):  # an unknown backbone, which the runs would report
            reason = image_tokens_obstacle(backbone)
            if reason:
                return NEEDS_VIT.format(method=method, backbone=backbone, reason=reason)
    return ""

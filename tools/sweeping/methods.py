"""Lists the registered methods and selects those that can be run."""

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


def select_methods(names: list[str], protocol: str, obstacle=lambda method: "") -> list[str]:
    """Returns the methods to run, by our names. For ["all"], prints the methods that it skips.

    Args:
        obstacle: returns why a method, given by its name, cannot use the backbone; "" if it can.

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
        reason = protocol_obstacle(trainers[name], protocol) or obstacle(name)
        if not reason:
            selected.append(name)
        elif select_all:
            print(f"Skipped {name}: {reason}", file=sys.stderr)
        else:
            raise ValueError(f"{name} cannot be run: {reason}")
    return selected


def protocol_obstacle(trainer: type, protocol: str) -> str:
    """Returns why a method cannot run a protocol; "" if it can."""
    if protocol == "base2new" and getattr(trainer, "per_class", False):
        return "base2new needs predictions of new classes, and this method learns parameters per class"
    if protocol == "retrieval" and not getattr(trainer, "takes_captions", lambda: False)():
        return "it needs classes and cannot be trained on captions"
    return ""

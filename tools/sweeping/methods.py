"""The methods that can be run, and what one of them cannot run."""

import re
import sys

from tools.recipe import read_table

RESNET = re.compile(r"RN\d+(x\d+)?")  # OpenAI's names: RN50, RN50x4, ...


def known() -> dict[str, type]:
    """Trainer classes by name, ours and plugins': in the order of configs/recipes.yaml, the others after them."""
    from dassl.engine import TRAINER_REGISTRY
    from trainers import register_all

    register_all()
    classes = {name: TRAINER_REGISTRY.get(name) for name in TRAINER_REGISTRY.registered_names()}
    named = [name for name in read_table() if name in classes]
    others = sorted((name for name in classes if name not in named), key=str.lower)
    return {name: classes[name] for name in (*named, *others) if is_method(classes[name])}


def is_method(trainer: type) -> bool:
    """Whether it is neither one of Dassl's own, which adapt to domains, nor another name of a method."""
    return not trainer.__module__.startswith("dassl.") and not getattr(trainer, "alias_of", "")


def choose(names: list[str], protocol: str, backbone: str) -> list[str]:
    """The methods with these names, or of ["all"] those that can run the protocol; says which are left out.

    Raises:
        ValueError: a method is unknown, or is named and cannot run the protocol.
    """
    trainers = known()
    for name in names:
        if name not in trainers and names != ["all"]:
            raise ValueError(f"unknown method {name!r}; there are: {', '.join(trainers)}")
    chosen = []
    for name in trainers if names == ["all"] else dict.fromkeys(names):
        why = refusal(name, trainers[name], protocol, backbone)
        if why and names != ["all"]:
            raise ValueError(why)
        if why:
            print(f"Left out: {why}", file=sys.stderr)
        else:
            chosen.append(name)
    return chosen


def refusal(method: str, trainer: type, protocol: str, backbone: str) -> str:
    """Why a method cannot run a protocol on a backbone, in one line; "" if it can."""
    if protocol == "base2new" and getattr(trainer, "per_class", False):
        return f"base2new is not applicable to {method}: what it tunes belongs to the classes it was trained on"
    if getattr(trainer, "needs_vit", False) and RESNET.fullmatch(backbone):
        return f"{method} needs a ViT; --backbone {backbone} is a ResNet: take ViT-B/16, ViT-B/32 or ViT-L/14"
    return ""

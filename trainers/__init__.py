"""The methods, one file each."""

import contextlib
import importlib
import pkgutil

import runtime  # noqa: F401  (makes dassl importable)


def register_all() -> None:
    """Imports every method, which registers its trainer and config keys with Dassl."""
    for name in modules():
        importlib.import_module(name)


def modules() -> list[str]:
    """Returns the names of the modules of the methods: ["trainers.bitfit", "trainers.clap", ...]."""
    found = pkgutil.iter_modules(__path__[:1])  # plugins append their folders to __path__
    return [f"{__name__}.{module.name}" for module in found if not module.ispkg]


def methods() -> dict[str, type]:
    """Returns the registered trainers by name."""
    from dassl.engine import TRAINER_REGISTRY

    return {name: TRAINER_REGISTRY.get(name) for name in TRAINER_REGISTRY.registered_names()}


def our_name(trainer: str) -> str:
    """Returns the name of the method that its official code registers as `trainer`: MMA for MultiModalAdapter.

    Any other name is returned as it is, also that of a plugin.
    """
    registered = methods()
    if trainer in registered:
        return trainer
    return next((name for name, method in registered.items() if trainer in of_class(method, "upstream_names")), trainer)


@contextlib.contextmanager
def upstream_sections(cfg):
    """Context in which sections of `cfg` also have their names in the official codes.

    TRAINER.MMADAPTER is then TRAINER.MMA. A name that `cfg` has already, such as that of a plugin's section, stays.
    """
    added = []
    for method in methods().values():
        section = of_class(method, "upstream_section")
        if section and section not in cfg.TRAINER:
            cfg.TRAINER[section] = cfg.TRAINER[method.section]
            added.append(section)
    try:
        yield
    finally:
        for section in added:
            del cfg.TRAINER[section]


def of_class(method: type, attribute: str):
    """Returns an attribute of a class if it sets it itself, else (). A subclass is another method."""
    return vars(method).get(attribute, ())

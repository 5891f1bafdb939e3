"""Backbones and heads by name. None is built in: CLIP trainers bring their own model."""

from dassl.utils import Registry, check_availability

BACKBONE_REGISTRY = Registry("BACKBONE")
HEAD_REGISTRY = Registry("HEAD")


def _build(registry: Registry, what: str, name: str, verbose: bool, kwargs: dict):
    check_availability(name, registry.registered_names(), what=what)
    if verbose:
        print(f"{what}: {name}")
    return registry.get(name)(**kwargs)


def build_backbone(name: str, verbose: bool = True, **kwargs):
    """The registered backbone of that name. Raises ValueError on an unknown name."""
    return _build(BACKBONE_REGISTRY, "Backbone", name, verbose, kwargs)


def build_head(name: str, verbose: bool = True, **kwargs):
    """The registered head of that name. Raises ValueError on an unknown name."""
    return _build(HEAD_REGISTRY, "Head", name, verbose, kwargs)

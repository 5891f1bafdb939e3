"""Builds an object from a registry."""

from dassl.utils import Registry, check_availability


def build(registry: Registry, label: str, key: str, name: str, verbose: bool, kwargs: dict):
    """Calls the registered object `name` with `kwargs`. Raises ValueError if the name is unknown."""
    check_availability(name, registry.registered_names(), key=key)
    if verbose:
        print(f"{label}: {name}")
    return registry.get(name)(**kwargs)

"""What the three registries share."""

from dassl.utils import Registry, check_availability


def build(registry: Registry, what: str, key: str, name: str, verbose: bool, kwargs: dict):
    """The registered object of that name, called with `kwargs`. An unknown name is a ValueError."""
    check_availability(name, registry.registered_names(), what=key)
    if verbose:
        print(f"{what}: {name}")
    return registry.get(name)(**kwargs)

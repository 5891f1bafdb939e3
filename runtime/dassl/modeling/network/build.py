"""Registry of networks."""

from dassl.utils import Registry

from ..build import build

NETWORK_REGISTRY = Registry("NETWORK")


def build_network(name: str, verbose: bool = True, **kwargs):
    """Builds the registered network `name`. Raises ValueError if the name is unknown."""
    return build(NETWORK_REGISTRY, "Network", "A network name", name, verbose, kwargs)

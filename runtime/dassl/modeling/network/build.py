"""Networks by name."""

from dassl.utils import Registry

from ..build import build

NETWORK_REGISTRY = Registry("NETWORK")


def build_network(name: str, verbose: bool = True, **kwargs):
    """The registered network of that name. Raises ValueError on an unknown name."""
    return build(NETWORK_REGISTRY, "Network", "A network", name, verbose, kwargs)

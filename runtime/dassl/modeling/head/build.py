"""Registry of heads."""

from dassl.utils import Registry

from ..build import build

HEAD_REGISTRY = Registry("HEAD")


def build_head(name: str, verbose: bool = True, **kwargs):
    """Builds the registered head `name`. Raises ValueError if the name is unknown."""
    return build(HEAD_REGISTRY, "Head", "MODEL.HEAD.NAME", name, verbose, kwargs)

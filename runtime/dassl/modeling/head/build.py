"""Heads by name."""

from dassl.utils import Registry

from ..build import build

HEAD_REGISTRY = Registry("HEAD")


def build_head(name: str, verbose: bool = True, **kwargs):
    """The registered head of that name. Raises ValueError on an unknown name."""
    return build(HEAD_REGISTRY, "Head", "MODEL.HEAD.NAME", name, verbose, kwargs)

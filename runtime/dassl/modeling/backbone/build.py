"""Backbones by name."""

from dassl.utils import Registry

from ..build import build

BACKBONE_REGISTRY = Registry("BACKBONE")


def build_backbone(name: str, verbose: bool = True, **kwargs):
    """The registered backbone of that name. Raises ValueError on an unknown name."""
    return build(BACKBONE_REGISTRY, "Backbone", "MODEL.BACKBONE.NAME", name, verbose, kwargs)

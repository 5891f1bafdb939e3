"""Registry of backbones."""

from dassl.utils import Registry

from ..build import build

BACKBONE_REGISTRY = Registry("BACKBONE")


def build_backbone(name: str, verbose: bool = True, **kwargs):
    """Builds the registered backbone `name`. Raises ValueError if the name is unknown."""
    return build(BACKBONE_REGISTRY, "Backbone", "MODEL.BACKBONE.NAME", name, verbose, kwargs)

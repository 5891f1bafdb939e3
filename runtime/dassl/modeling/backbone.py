"""Backbones by name. None is built in: CLIP trainers bring their own model."""

from torch import nn

from dassl.utils import Registry

from .build import build

BACKBONE_REGISTRY = Registry("BACKBONE")


class Backbone(nn.Module):
    """A network that gives features (B, out_features); subclasses set `_out_features`."""

    _out_features = None

    @property
    def out_features(self) -> int | None:
        return self._out_features


def build_backbone(name: str, verbose: bool = True, **kwargs):
    """The registered backbone of that name. Raises ValueError on an unknown name."""
    return build(BACKBONE_REGISTRY, "Backbone", "MODEL.BACKBONE.NAME", name, verbose, kwargs)

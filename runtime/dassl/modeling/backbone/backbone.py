"""Base class of backbones."""

from torch import nn


class Backbone(nn.Module):
    """A network that returns features (B, out_features). Subclasses set `_out_features`."""

    _out_features = None

    @property
    def out_features(self) -> int | None:
        return self._out_features

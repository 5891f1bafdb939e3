"""What a backbone is."""

from torch import nn


class Backbone(nn.Module):
    """A network that gives features (B, out_features); subclasses set `_out_features`."""

    _out_features = None

    @property
    def out_features(self) -> int | None:
        return self._out_features

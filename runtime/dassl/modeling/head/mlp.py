"""The MLP head."""

from torch import nn

from dassl.utils import check_availability

from .build import HEAD_REGISTRY

ACTIVATIONS = {"relu": nn.ReLU, "leaky_relu": nn.LeakyReLU}


class MLP(nn.Module):
    """A multilayer perceptron. Each hidden layer is linear, batch normalisation, activation, dropout."""

    def __init__(self, in_features=2048, hidden_layers=(), activation="relu", bn=True, dropout=0.0):
        super().__init__()
        sizes = [hidden_layers] if isinstance(hidden_layers, int) else list(hidden_layers)
        if not sizes:
            raise ValueError("MODEL.HEAD.HIDDEN_LAYERS must have at least one size, such as (512,), got ()")
        check_availability(activation, list(ACTIVATIONS), key="MODEL.HEAD.ACTIVATION")
        layers = []
        for in_size, size in zip([in_features, *sizes], sizes, strict=False):
            layers.append(nn.Linear(in_size, size))
            if bn:
                layers.append(nn.BatchNorm1d(size))
            layers.append(ACTIVATIONS[activation](inplace=True))
            if dropout > 0:
                layers.append(nn.Dropout(dropout))
        self.mlp = nn.Sequential(*layers)
        self.out_features = sizes[-1]

    def forward(self, x):
        return self.mlp(x)


@HEAD_REGISTRY.register()
def mlp(**kwargs) -> MLP:
    return MLP(**kwargs)

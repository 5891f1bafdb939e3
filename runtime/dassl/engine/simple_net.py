"""A classifier of a backbone, an optional head and a linear layer."""

from torch import nn

from dassl.modeling import build_backbone, build_head


class SimpleNet(nn.Module):
    """MODEL.BACKBONE, MODEL.HEAD if it is set, and a linear layer to `num_classes` if that is above 0."""

    def __init__(self, cfg, model_cfg, num_classes: int, **kwargs):
        super().__init__()
        backbone, head = model_cfg.BACKBONE, model_cfg.HEAD
        self.backbone = build_backbone(backbone.NAME, verbose=cfg.VERBOSE, pretrained=backbone.PRETRAINED, **kwargs)
        fdim = self.backbone.out_features
        self.head = None
        if head.NAME and head.HIDDEN_LAYERS:
            self.head = build_head(
                head.NAME,
                verbose=cfg.VERBOSE,
                in_features=fdim,
                hidden_layers=head.HIDDEN_LAYERS,
                activation=head.ACTIVATION,
                bn=head.BN,
                dropout=head.DROPOUT,
                **kwargs,
            )
            fdim = self.head.out_features
        self.classifier = nn.Linear(fdim, num_classes) if num_classes > 0 else None
        self._fdim = fdim

    @property
    def fdim(self) -> int:
        """Dimension of the features."""
        return self._fdim

    def forward(self, x, return_feature: bool = False):
        """Returns logits (B, num_classes), or features (B, fdim) without a classifier; both with `return_feature`."""
        features = self.backbone(x)
        if self.head is not None:
            features = self.head(features)
        if self.classifier is None:
            return features
        logits = self.classifier(features)
        return (logits, features) if return_feature else logits

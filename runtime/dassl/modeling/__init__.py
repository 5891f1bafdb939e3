"""Registries of backbones, heads and networks, and functions that trainers share."""

from .backbone import BACKBONE_REGISTRY, Backbone, build_backbone
from .head import HEAD_REGISTRY, build_head
from .network import NETWORK_REGISTRY, build_network

__all__ = [
    "BACKBONE_REGISTRY", "Backbone", "HEAD_REGISTRY", "NETWORK_REGISTRY", "build_backbone", "build_head",
    "build_network",
]  # fmt: skip

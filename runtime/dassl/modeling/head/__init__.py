"""Registry of heads, which are between a backbone and its classifier."""

from .build import HEAD_REGISTRY, build_head
from .mlp import mlp

__all__ = ["HEAD_REGISTRY", "build_head", "mlp"]

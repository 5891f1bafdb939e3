"""The methods; importing this package registers all of them."""

from . import clip_adapter, clipfit, cocoop, coop, kgcoop, maple, prograd, tip_adapter, zsclip  # noqa: F401

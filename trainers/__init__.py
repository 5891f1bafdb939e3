"""The methods; importing this package registers all of them."""

from . import clipfit, zsclip  # noqa: F401

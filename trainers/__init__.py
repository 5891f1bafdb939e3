"""The methods; importing this package registers all of them."""

import runtime  # noqa: F401  (makes dassl importable)

from . import (  # noqa: F401
    clip_adapter,
    clipfit,
    cocoop,
    coop,
    kgcoop,
    maple,
    prograd,
    tip_adapter,
    tip_adapter_f,
    zsclip,
)

"""What goes into a checkout: files of this repository, some to another place there, YAML files without `_BASE_`."""

from __future__ import annotations

import os
from pathlib import Path

from .flat_yaml import flatten
from .train_py import SOURCE

FILES = (  # folder in the checkout, folder here, files: what CLIPFit needs beside what every CoOp checkout has
    ("trainers", "trainers", ("clipfit.py", "common/**/*.py")),
    ("configs", "configs", ("recipes.yaml", "trainers/CLIPFit/vit_*.yaml")),
    ("scripts", "scripts/coop_checkout", ("**/*.sh", "*.py")),
    ("tools", "tools", ("recipe.py",)),
)


def sources() -> dict[str, Path]:
    """Name in the checkout -> file here, folder by folder."""
    found = {}
    for target, source, patterns in FILES:
        for path in (path for pattern in patterns for path in (SOURCE / source).glob(pattern)):
            found[f"{target}/{path.relative_to(SOURCE / source).as_posix()}"] = path
    return dict(sorted(found.items(), key=lambda item: os.path.split(item[0])))


def contents() -> dict[str, bytes]:
    """Name in the checkout -> what is written there."""
    return {name: content(name, path) for name, path in sources().items()}


def content(name: str, path: Path) -> bytes:
    return flatten(path).encode() if name.startswith("configs/trainers/") else path.read_bytes()

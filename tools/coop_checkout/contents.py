"""The files to install into a checkout: their names and their content (YAML files without `_BASE_`)."""

from __future__ import annotations

import os
from pathlib import Path

from .flat_yaml import flatten
from .train_py import SOURCE

FILES = (  # folder in the checkout, folder in this repository, patterns
    ("trainers", "trainers", ("clipfit.py", "common/**/*.py")),
    ("configs", "configs", ("recipes.yaml", "trainers/CLIPFit/vit_*.yaml")),
    ("scripts", "scripts/coop_checkout", ("**/*.sh", "*.py")),
    ("tools", "tools", ("recipe.py",)),
)


def sources() -> dict[str, Path]:
    """Returns the installed files: name in the checkout -> path in this repository, sorted by folder."""
    files = {}
    for target, source, patterns in FILES:
        for pattern in patterns:
            for path in (SOURCE / source).glob(pattern):
                files[f"{target}/{path.relative_to(SOURCE / source).as_posix()}"] = path
    return dict(sorted(files.items(), key=lambda item: os.path.split(item[0])))


def contents() -> dict[str, bytes]:
    """Returns the installed files: name in the checkout -> content."""
    return {name: content(name, path) for name, path in sources().items()}


def content(name: str, path: Path) -> bytes:
    """Returns the content to install for one file."""
    return flatten(path).encode() if name.startswith("configs/trainers/") else path.read_bytes()

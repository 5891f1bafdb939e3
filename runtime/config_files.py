"""Reads YAML config files. A file with `_BASE_: ../_base_/vit_b16.yaml` inherits from that file."""

from __future__ import annotations

import copy
import os

import yaml

BASE = "_BASE_"  # path of the base file, relative to the file that names it


def read_yaml(path: str) -> dict:
    """Returns the content of a YAML file merged over that of its base, which may have a base itself.

    Raises:
        FileNotFoundError: the file or a base does not exist.
        ValueError: the bases form a cycle, or a file is not YAML or does not hold a mapping.
    """
    merged = {}
    for _, content in read_chain(path):
        merged = overlay(merged, content)
    return merged


def read_chain(path: str) -> list[tuple[str, dict]]:
    """Returns (path, content) of the bases of a file and of the file itself; later ones win. Raises as `read_yaml`."""
    chain = []
    inheriting = []  # paths of the files that inherit from `path`, directly or not
    while path:
        if os.path.realpath(path) in map(os.path.realpath, inheriting):
            raise ValueError(f"{inheriting[0]}: {BASE} forms a cycle: {' -> '.join([*inheriting, path])}")
        if inheriting and not os.path.isfile(path):
            raise FileNotFoundError(f"{inheriting[-1]}: {BASE} {path} does not exist")
        content = _load(path)
        base = content.pop(BASE, None)
        if not isinstance(base, (str, type(None))):
            raise ValueError(f"{path}: {BASE} must be the path of one YAML file, got {base!r}")
        chain.insert(0, (path, content))
        inheriting.append(path)
        path = os.path.normpath(os.path.join(os.path.dirname(path), base)) if base else None
    return chain


def overlay(base: dict, content: dict) -> dict:
    """Merges `content` over `base` by section: {A: {x: 1, y: 2}} and {A: {y: 3}} give {A: {x: 1, y: 3}}."""
    result = copy.deepcopy(base)
    for key, value in content.items():
        if isinstance(value, dict) and isinstance(result.get(key), dict):
            result[key] = overlay(result[key], value)
        else:
            result[key] = copy.deepcopy(value)
    return result


def _load(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, (dict, type(None))):
        raise ValueError(f"{path} must hold KEY: VALUE lines, not a {type(content).__name__}")
    return content or {}

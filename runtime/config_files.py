"""Reads YAML config files. One that states `_BASE_: ../_base_/vit_b16.yaml` takes the rest from that file."""

from __future__ import annotations

import copy
import os

import yaml

BASE = "_BASE_"  # path of another file, relative to the one that states it


def read_yaml(path: str) -> dict:
    """The content of a YAML file over that of its base, which may have a base itself.

    Raises:
        FileNotFoundError: the file, or a base, does not exist.
        ValueError: the bases form a cycle, or a file is not YAML or no mapping.
    """
    merged = {}
    for _, content in read_chain(path):
        merged = overlay(merged, content)
    return merged


def read_chain(path: str) -> list[tuple[str, dict]]:
    """(path, what it states) of a file's bases and of the file itself; later ones win. Raises as `read_yaml`."""
    chain = []
    above = []  # the files that led here
    while path:
        if os.path.realpath(path) in map(os.path.realpath, above):
            raise ValueError(f"{above[0]}: {BASE} forms a cycle: {' -> '.join([*above, path])}")
        if above and not os.path.isfile(path):
            raise FileNotFoundError(f"{above[-1]}: {BASE} {path} does not exist")
        content = _load(path)
        base = content.pop(BASE, None)
        if not isinstance(base, (str, type(None))):
            raise ValueError(f"{path}: {BASE} must be the path of one YAML file, got {base!r}")
        chain.insert(0, (path, content))
        above.append(path)
        path = base and os.path.normpath(os.path.join(os.path.dirname(path), base))
    return chain


def overlay(base: dict, content: dict) -> dict:
    """`content` over `base`, section by section: {A: {x: 1, y: 2}} and {A: {y: 3}} give {A: {x: 1, y: 3}}."""
    result = copy.deepcopy(base)
    for key, value in content.items():
        both = isinstance(value, dict) and isinstance(result.get(key), dict)
        result[key] = overlay(result[key], value) if both else copy.deepcopy(value)
    return result


def _load(path: str) -> dict:
    try:
        with open(path, encoding="utf-8") as file:
            content = yaml.safe_load(file)
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: {' '.join(str(error).split())}") from error
    if not isinstance(content, (dict, type(None))):
        raise ValueError(f"{path} must hold KEY: VALUE lines, got a {type(content).__name__}")
    return content or {}

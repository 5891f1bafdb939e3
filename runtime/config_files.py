"""Reads YAML config files. A file with `_BASE_: ../_base_/vit_b16.yaml` inherits from that file.

The files may come from others: only plain values are read, and the size of a file is bounded.
"""

from __future__ import annotations

import copy
import functools
import os

import yaml

ENDINGS = (".yaml", ".yml")
MAX_BYTES = 1_000_000
MAX_DEPTH = 20  # levels of sections and lists
MAX_VALUES = 100_000
BASE = "_BASE_"  # path of the base file, relative to the file that names it


def read_yaml(path: str) -> dict:
    """Returns the content of a YAML file merged over that of its base, which may have a base itself.

    Raises:
        FileNotFoundError: the file or a base does not exist.
        ValueError: the bases form a cycle, or a file is not YAML, does not hold a mapping, or is too large.
    """
    merged = {}
    for _, content in read_chain(path):
        merged = overlay(merged, content)
    return merged


def read_chain(path: str) -> list[tuple[str, dict]]:
    """Returns (path, content) of the bases of a file and of the file itself; later ones win. Raises as `read_yaml`."""
    path = os.fspath(path)
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


def read_text(path: str) -> str:
    """Returns a small text file. Raises ValueError if it is larger than MAX_BYTES, binary or empty."""
    with open(path, "rb") as file:
        content = file.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise ValueError(f"{path} must have at most {MAX_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path} must be text in UTF-8: {error}") from error
    if not text.strip():
        raise ValueError(f"{path} is empty")
    return text


class _Loader(yaml.SafeLoader):
    """Loads plain values only. Bounds the depth, and the number of values with each alias replaced by its content."""

    def __init__(self, text: str):
        super().__init__(text)
        self.depth = 0
        self.sizes: dict[int, int] = {}  # id of a complete node -> number of values in it

    def compose_node(self, parent, index):
        self.depth += 1
        if self.depth > MAX_DEPTH:
            mark = self.peek_event().start_mark
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels", problem_mark=mark)
        is_alias = self.check_event(yaml.AliasEvent)
        node = super().compose_node(parent, index)
        self.depth -= 1
        if is_alias and id(node) not in self.sizes:
            raise yaml.MarkedYAMLError(problem="a value contains itself", problem_mark=node.start_mark)
        if not is_alias:
            items = [] if isinstance(node, yaml.ScalarNode) else node.value
            parts = [part for item in items for part in (item if isinstance(item, tuple) else (item,))]
            self.sizes[id(node)] = 1 + sum(self.sizes[id(part)] for part in parts)
        if self.sizes[id(node)] > MAX_VALUES:
            raise yaml.MarkedYAMLError(problem=f"more than {MAX_VALUES:,} values", problem_mark=node.start_mark)
        return node


@functools.lru_cache(maxsize=128)
def _parse(text: str):
    """Returns the content of a text in YAML. Sweeps read the same files for each job."""
    return _Loader(text).get_single_data()


def _load(path: str) -> dict:
    if not path.endswith(ENDINGS):
        raise ValueError(f"{path} must be a YAML file, ending in {' or '.join(ENDINGS)}")
    try:
        content = copy.deepcopy(_parse(read_text(path)))
    except (yaml.YAMLError, OverflowError, TypeError, ValueError) as error:
        message = " ".join(str(error).split())
        raise ValueError(message if message.startswith(path) else f"{path}: {message}") from error
    if not isinstance(content, (dict, type(None))):
        raise ValueError(f"{path} must hold KEY: VALUE lines, not a {type(content).__name__}")
    _check_values(content or {}, path)
    return content or {}


def _check_values(content: dict, path: str, prefix: str = "") -> None:
    """Raises ValueError if a key is not text, or a value is of a type that no config key has, such as a date."""
    for key, value in content.items():
        if not isinstance(key, str):
            raise ValueError(f"{path}: a key must be text, got {prefix}{key!r}: put it in quotes")
        if isinstance(value, dict):
            _check_values(value, path, f"{prefix}{key}.")
        elif not isinstance(value, (str, int, float, list, type(None))):
            raise ValueError(f"{path}: {prefix}{key} is a {type(value).__name__}: put it in quotes if it is text")

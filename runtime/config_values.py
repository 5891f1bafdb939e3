"""Sets config values. Flags, KEY VALUE pairs and YAML files follow the same rules.

The type of a key is that of its default:

- text: the value as typed. DATASET.TEMPLATE "{}" is the text {}, not a dictionary.
- a number, True or False, or a tuple: a Python or YAML literal of that type. A whole number is a float too.
- None: any literal, else the text.
"""

from __future__ import annotations

import ast
import difflib

import yaml
from yacs.config import CfgNode

NAMES = {
    bool: "True or False", int: "a whole number (int)", float: "a number (float)", tuple: "a tuple", list: "a list",
}  # fmt: skip


def flat_keys(node, prefix="") -> list[str]:
    """Returns all keys of a config, or of a mapping like it, in dotted form, such as OPTIM.LR."""
    keys = []
    for key, value in node.items():
        keys += flat_keys(value, f"{prefix}{key}.") if isinstance(value, dict) else [prefix + key]
    return keys


def merge_pairs(cfg: CfgNode, pairs: list[tuple], source: str) -> None:
    """Sets (dotted key, value) pairs. A value is text from the command line, or a list of texts.

    Raises:
        ValueError: a key is unknown or a section, or a value has the wrong type. The message begins with `source`.
    """
    for key, value in pairs:
        node = cfg
        *sections, leaf = str(key).split(".")
        for section in sections:
            node = node.get(section) if isinstance(node, CfgNode) else None
        if not isinstance(node, CfgNode) or (leaf not in node and not node.is_new_allowed()):
            raise unknown_key(cfg, key, source)
        if isinstance(node.get(leaf), CfgNode):
            inside = [name for name in flat_keys(cfg) if name.startswith(f"{key}.")]
            raise ValueError(f"{source}: {key} is a section: give one of its keys, such as {inside[0]}")
        node[leaf] = convert(value, node.get(leaf), key, source)


def merge_yaml(cfg: CfgNode, content: dict, file: str) -> None:
    """Merges the `content` of a YAML file. Raises ValueError as `merge_pairs`."""
    _merge_section(cfg, cfg, content, file, ())


def _merge_section(cfg: CfgNode, node: CfgNode, content: dict, file: str, path: tuple) -> None:
    for name, value in content.items():
        key = ".".join(map(str, (*path, name)))
        old = node.get(name)
        if name not in node and not node.is_new_allowed():
            raise unknown_key(cfg, key, file)
        if isinstance(old, CfgNode):
            if not isinstance(value, (dict, type(None))):
                raise ValueError(f"{file}: {key} is a section of KEY: VALUE lines, got {value!r}")
            _merge_section(cfg, old, value or {}, file, (*path, name))
        elif isinstance(value, dict) and name not in node:
            node[name] = CfgNode(value)
        else:
            if isinstance(old, str) and not isinstance(value, str):
                text = typed_text(file, (*path, name))
                value = value if text is None else text
            node[name] = convert(value, old, key, file)


def unknown_key(cfg: CfgNode, key, source: str) -> ValueError:
    """Returns the error for an unknown key, with the most similar known one."""
    if str(key).startswith("-"):
        return ValueError(f"{source}: {key} must come before the KEY VALUE pairs, as all flags")
    nearest = difflib.get_close_matches(str(key), flat_keys(cfg), 1, 0.4)
    hint = f" (did you mean {nearest[0]}?)" if nearest else ""
    return ValueError(f"{source}: unknown config key {key}{hint}")


def convert(value, default, key: str, source: str):
    """Returns `value` as the type of `default`. Raises ValueError if it has another type."""
    if isinstance(default, str):
        if not isinstance(value, str):
            raise ValueError(f"{source}: {key} must be text, got {value!r}: put it in quotes")
        return value
    value = literal(value)
    if default is None:
        return value
    kind = type(default)
    if kind is float and type(value) is int:
        value = float(value)
    elif kind in (tuple, list) and isinstance(value, (tuple, list)):
        value = kind(value)
        check_items(value, default, key, source)
    if type(value) is not kind:
        example = f", such as {default}" if kind in (tuple, list) and default else ""
        expected = NAMES.get(kind, kind.__name__)
        raise ValueError(f"{source}: {key} must be {expected}{example}, got {value!r} ({type(value).__name__})")
    return value


def check_items(values, default, key: str, source: str) -> None:
    """Raises ValueError unless the values have the types of the default's items; any plain ones if it is empty."""
    kinds = {type(item) for item in default} or {str, int, float, bool}
    if float in kinds:
        kinds.add(int)
    for value in values:
        if type(value) not in kinds and not (isinstance(value, (tuple, list)) and not default):
            names = " or ".join(sorted(kind.__name__ for kind in kinds))
            raise ValueError(f"{source}: {key} must hold {names} values, got {value!r} in {values!r}")


def literal(value):
    """Returns the Python value of a literal ("1e-3" -> 0.001, "(1, 2)" -> (1, 2)), and any other text unchanged."""
    if isinstance(value, str):
        try:
            return ast.literal_eval(value)
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            return value
    return value


def typed_text(file: str, path: tuple) -> str | None:
    """Returns the text that a YAML file has for the key `path`, such as "007" or "{}"; None for indented blocks.

    `yaml.safe_load` would return 7 and a dictionary.
    """
    with open(file, encoding="utf-8") as stream:
        text = stream.read()
    node = yaml.compose(text, Loader=yaml.SafeLoader)
    for name in path:
        pairs = node.value if isinstance(node, yaml.MappingNode) else ()
        node = next((value for key, value in reversed(pairs) if key.value == name), None)
    if isinstance(node, yaml.ScalarNode):
        return node.value
    if node is not None and node.flow_style:
        return text[node.start_mark.index : node.end_mark.index]
    return None

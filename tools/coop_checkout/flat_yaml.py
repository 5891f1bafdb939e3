"""Merges YAML files with their `_BASE_: path` files, because yacs in a CoOp checkout does not support `_BASE_`.

The merge works on the text, because the installer does not need PyYAML. It supports only the simple YAML of
configs/trainers: sections in block style and one `KEY: value` per line. Anything else raises ValueError.

Example, with `_BASE_: base.yaml` in the file:

    base.yaml             the file              result
    OPTIM:                OPTIM:                OPTIM:
      LR: 0.2               LR: 0.1               LR: 0.1
      MAX_EPOCH: 10                               MAX_EPOCH: 10
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

BASE = "_BASE_"
KEY = re.compile(r"( *)([A-Za-z_]\w*):(?: +(.*?))? *$")
QUOTED_OR_COMMENT = re.compile(r""""(?:[^"\\]|\\.)*"|'(?:[^']|'')*'|(?<!\S)#.*""")


class Entry(NamedTuple):
    """A key of a YAML file."""

    comments: list[str]  # comment lines above the key
    value: str | dict[str, Entry]  # text of the value, or the entries of a section


def flatten(path: Path) -> str:
    """Returns the text of a YAML file merged with its bases. A file without `_BASE_` is returned unchanged.

    Raises ValueError if a base is missing, if the bases form a cycle, or if a file is not simple YAML.
    """
    text = path.read_text(encoding="utf-8")
    if not re.search(rf"^[^#\n]*{BASE}", text, re.MULTILINE):
        return text
    return "\n".join([*head(text), *lines_of(load(path.resolve(), ()))]).lstrip("\n") + "\n"


def head(text: str) -> list[str]:
    """Returns the comment lines at the top of a file. Those of bases are dropped."""
    return list(itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))


def load(path: Path, parents: tuple[Path, ...]) -> dict[str, Entry]:
    """Returns the entries of a file merged with its bases. `parents` are the files that lead to it by `_BASE_`."""
    if path in parents:
        raise ValueError(f"{path}: cycle of {BASE}: {' -> '.join(p.name for p in (*parents, path))}")
    text = path.read_text(encoding="utf-8")
    entries = parse(text.splitlines(), len(head(text)), path)
    if BASE not in entries:
        return entries
    name = str(entries.pop(BASE).value).split(" #")[0].strip("\"' ")
    base = (path.parent / name).resolve()
    if not base.is_file():
        raise ValueError(f"{path}: {BASE} must be the path of a YAML file, got {name!r} ({base} does not exist)")
    return merge(load(base, (*parents, path)), entries)


def merge(base: dict[str, Entry], override: dict[str, Entry]) -> dict[str, Entry]:
    """Merges sections key by key; any other entry of `override` replaces that of `base`. Keeps the order of `base`."""
    merged = dict(base)
    for key, entry in override.items():
        old = merged.get(key)
        if old is not None and isinstance(old.value, dict) and isinstance(entry.value, dict):
            entry = Entry(entry.comments or old.comments, merge(old.value, entry.value))
        merged[key] = entry
    return merged


def parse(lines: list[str], skip: int, path: Path) -> dict[str, Entry]:
    """Returns the entries of a file, without its first `skip` lines."""
    entries: dict[str, Entry] = {}
    levels = [(0, entries)]  # indentation and entries of the sections that contain the current line
    section = None  # section that the previous line opened, still empty
    comments = []
    for number, line in enumerate(lines[skip:], start=skip + 1):
        if line.lstrip(" ").startswith("#"):
            comments.append(line.strip())
        if not line.strip() or line.lstrip(" ").startswith("#"):
            continue
        indent, key, value = split(line, f"{path}:{number}")
        if section is not None:
            if indent <= levels[-1][0]:
                raise ValueError(f"{path}:{number}: the previous section has no entries")
            levels.append((indent, section))
        while indent < levels[-1][0]:
            levels.pop()
        level, siblings = levels[-1]
        if indent != level or key in siblings or (key == BASE and (indent or not value)):
            raise ValueError(f"{path}:{number}: duplicate or wrongly indented key {key}")
        section = None if value else {}
        siblings[key] = Entry(comments, value or section)
        comments = []
    if section is not None:
        raise ValueError(f"{path}: the last section has no entries")
    return entries


def split(line: str, location: str) -> tuple[int, str, str]:
    """Returns the indentation, key and value of a line. The value is empty if the line opens a section."""
    match = KEY.match(line)
    if not match:
        raise ValueError(f"{location}: must be 'KEY: value' (simple YAML, merged without PyYAML), got {line.strip()!r}")
    value = match[3] or ""
    bare = QUOTED_OR_COMMENT.sub("", value).strip()  # '["a: b", 0.1]  # comment' becomes '[, 0.1]'
    one_line = bare.count("[") == bare.count("]") and not re.search(r"""^[&*!|>%@`?-](?!\d|\.)|[{}"']|:( |$)""", bare)
    if not one_line:
        raise ValueError(f"{location}: {match[2]} must be a value on one line (merged without PyYAML), got {value!r}")
    return len(match[1]), match[2], "" if value.startswith("#") else value


def lines_of(entries: dict[str, Entry], indent: int = 0) -> Iterator[str]:
    """Yields the lines of a YAML file with these entries."""
    margin = "  " * indent
    for key, (comments, value) in entries.items():
        if not indent:
            yield ""
        yield from (margin + comment for comment in comments)
        if isinstance(value, dict):
            yield f"{margin}{key}:"
            yield from lines_of(value, indent + 1)
        else:
            yield f"{margin}{key}: {value}"

"""YAML files with what their `_BASE_: path` names merged in, for checkouts, whose yacs does not know `_BASE_`.

A merge of text, because the installer does without PyYAML. Files must be as simple as those in configs/trainers are:
sections in block style, and each `KEY: value` on one line. Anything else is an error.
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
    comments: list[str]  # lines above the key
    value: str | dict[str, Entry]  # as it is written, or a section


def flatten(path: Path) -> str:
    """Text of a YAML file whose bases are merged in; without `_BASE_`, the text of the file as it is.

    Raises ValueError if a base is missing or leads back to the file, or if a file is not simple enough.
    """
    text = path.read_text(encoding="utf-8")
    if not re.search(rf"^[^#\n]*{BASE}", text, re.MULTILINE):
        return text
    return "\n".join([*head(text), *lines_of(load(path.resolve(), ()))]).lstrip("\n") + "\n"


def head(text: str) -> list[str]:
    """Comment lines at the top of a file; with bases, only those of the file itself are kept."""
    return list(itertools.takewhile(lambda line: line.startswith("#"), text.splitlines()))


def load(path: Path, above: tuple[Path, ...]) -> dict[str, Entry]:
    """Entries of a file over those of its bases. `above`: the files that have it as a base."""
    if path in above:
        raise ValueError(f"{path}: {BASE} leads back to it: {' -> '.join(p.name for p in (*above, path))}")
    text = path.read_text(encoding="utf-8")
    own = parse(text.splitlines(), len(head(text)), path)
    if BASE not in own:
        return own
    name = str(own.pop(BASE).value).split(" #")[0].strip("\"' ")
    base = (path.parent / name).resolve()
    if not base.is_file():
        raise ValueError(f"{path}: {BASE} must be the path of a YAML file, got {name!r}; there is no {base}")
    return merge(load(base, (*above, path)), own)


def merge(base: dict[str, Entry], own: dict[str, Entry]) -> dict[str, Entry]:
    """Sections are merged key by key; any other entry of `own` replaces that of `base`, in its place."""
    merged = dict(base)
    for key, entry in own.items():
        old = merged.get(key)
        if old is not None and isinstance(old.value, dict) and isinstance(entry.value, dict):
            entry = Entry(entry.comments or old.comments, merge(old.value, entry.value))
        merged[key] = entry
    return merged


def parse(lines: list[str], skip: int, path: Path) -> dict[str, Entry]:
    """Entries of a file without its first `skip` lines."""
    entries: dict[str, Entry] = {}
    levels, section, comments = [(0, entries)], None, []  # `section`: opened by the last key, still empty
    for number, line in enumerate(lines[skip:], start=skip + 1):
        if line.lstrip(" ").startswith("#"):
            comments.append(line.strip())
        if not line.strip() or line.lstrip(" ").startswith("#"):
            continue
        indent, key, value = split(line, f"{path}:{number}")
        if section is not None:
            if indent <= levels[-1][0]:
                raise ValueError(f"{path}:{number}: the section above has no entries")
            levels.append((indent, section))
        while indent < levels[-1][0]:
            levels.pop()
        level, entries_here = levels[-1]
        if indent != level or key in entries_here or (key == BASE and (indent or not value)):
            raise ValueError(f"{path}:{number}: {key} is a duplicate, or not indented as its neighbours are")
        section = None if value else {}
        entries_here[key] = Entry(comments, value or section)
        comments = []
    if section is not None:
        raise ValueError(f"{path}: the last section has no entries")
    return entries


def split(line: str, place: str) -> tuple[int, str, str]:
    """Indentation, key and value of a line; the value is empty if a section begins."""
    match = KEY.match(line)
    if not match:
        raise ValueError(f"{place}: must be 'KEY: value' to be merged without PyYAML, got {line.strip()!r}")
    value = match[3] or ""
    bare = QUOTED_OR_COMMENT.sub("", value).strip()  # "[, 0.1]" of '["a: b", 0.1]  # why'
    one_line = bare.count("[") == bare.count("]") and not re.search(r"""^[&*!|>%@`?-](?!\d|\.)|[{}"']|:( |$)""", bare)
    if not one_line:
        raise ValueError(f"{place}: {match[2]} must be a value on one line to be merged without PyYAML, got {value!r}")
    return len(match[1]), match[2], "" if value.startswith("#") else value


def lines_of(entries: dict[str, Entry], indent: int = 0) -> Iterator[str]:
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

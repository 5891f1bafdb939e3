"""Tells whether the files of a report are already written: from the same content, by the same code, and unchanged.

Drawing the plots takes longer than reading the runs, so the report of unchanged runs is not written again. The report's
content is always read from the runs; only its files may be kept. `FILE` in their folder has the digests of both.
"""

import hashlib
import json
import os
import sys
from dataclasses import fields, is_dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from runtime.installation import ROOT
from trainers.common.runs.files import write_atomically

from .run_pages import page_of

FILE = "written.json"  # {"content": digest, "files": {name: digest}}
PAGE = "report.html"
CODE = ("datasets", "runtime", "tools", "trainers")  # folders with the code that the files depend on
SUFFIXES = (".py", ".j2", ".css", ".js")
PACKAGES = ("matplotlib", "jinja2", "pandas", "numpy")  # what the files depend on, in addition to the code


def is_written(report, out: Path) -> bool:
    """Returns whether the files of a report are in `out`, as `write` left them."""
    try:
        found = json.loads((out / FILE).read_bytes())
        if PAGE not in found["files"] or found["content"] != content_digest(report, out):
            return False
        return all(file_digest(out / name) == digest for name, digest in found["files"].items())
    except (OSError, ValueError, KeyError, TypeError, AttributeError):  # never written, or edited
        return False


def note(report, out: Path, names: list[str]) -> None:
    """Notes that the files `names` in `out` are those of a report.

    Raises:
        OSError: `out` is not writable.
    """
    files = {name: file_digest(out / name) for name in names}
    write_atomically(str(out / FILE), json.dumps({"content": content_digest(report, out), "files": files}, indent=1))


def file_digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def content_digest(report, out: Path) -> str:
    """Returns the digest of all that the files depend on: the report, the pages they link to, code and packages."""
    digest = hashlib.sha256()
    for path in sorted(path for folder in CODE for path in (ROOT / folder).rglob("*") if path.suffix in SUFFIXES):
        digest.update(path.read_bytes())
    digest.update(repr([sys.version, *map(installed, PACKAGES)]).encode())
    pages = [os.path.relpath(page_of(run), out) for run in report.runs if page_of(run).is_file()]
    add(digest, [report, pages], {})
    return digest.hexdigest()


def installed(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def add(digest, value, seen: dict) -> None:
    """Adds a value to a digest, with the types and names that its meaning depends on.

    Objects that occur several times, such as a run in several tables, are added once and then referred to.

    Args:
        seen: id of each object so far -> its number; a new dict at the start.
    """
    if is_dataclass(value):
        known = id(value) in seen
        number = seen.setdefault(id(value), len(seen))
        digest.update(f"{type(value).__name__} {number}(".encode())
        members = [] if known else [getattr(value, field.name) for field in fields(value)]
    elif isinstance(value, dict):
        digest.update(b"{")
        members = [part for pair in value.items() for part in pair]
    elif isinstance(value, (list, tuple)):
        digest.update(b"[")
        members = value
    elif isinstance(value, (set, frozenset)):
        digest.update(b"<")
        members = sorted(value, key=repr)
    else:  # a function draws what the tables have, so its name is enough
        text = getattr(value, "__qualname__", None) or repr(value)
        digest.update(f"{text};".encode("utf-8", "backslashreplace"))
        return
    for member in members:
        add(digest, member, seen)
    digest.update(b")")

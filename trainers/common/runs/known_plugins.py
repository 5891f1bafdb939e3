"""Decides which plugins may be imported because a run record or a checkpoint names them.

A file from elsewhere must not choose which code is run. A plugin that a file names is therefore imported only if the
user has named the same code on this machine before. For each plugin that the user names, a file in
`~/.cache/clipfit/plugins` holds the imported files of its checkout and a digest of their contents.
"""

from __future__ import annotations

import ast
import contextlib
import hashlib
import json
import os
import sys
from pathlib import Path

from .files import write_atomically
from .record import loaded_plugins

VARIABLE = "CLIPFIT_PLUGINS"  # environment variable: paths or module names, separated as in PATH
FOLDER = Path("~/.cache/clipfit/plugins")


def requested(flags, configs=(), opts=None) -> list[str]:
    """Returns the plugins that the user names in the environment, in configs and on the command line.

    Args:
        flags: values of --plugin.
        configs: contents of config files, as dicts; only their key PLUGINS is read.
        opts: KEY -> VALUE of the command line; only PLUGINS is read.
    """
    sources = [source for source in os.environ.get(VARIABLE, "").split(os.pathsep) if source]
    for config in configs:
        sources += as_list(config.get("PLUGINS"))
    sources += as_list((opts or {}).get("PLUGINS"))
    return list(dict.fromkeys([*sources, *flags]))


def as_list(value) -> list[str]:
    """Returns the value of PLUGINS as a list of paths or module names."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, SyntaxError):  # a path is not a Python literal
            return as_list(ast.literal_eval(value))
        return [value] if value else []
    return [str(item) for item in value or ()]


def digest(files) -> str:
    """Returns the SHA-256 (64 hex digits) of the names and contents of files."""
    sha = hashlib.sha256()
    for file in sorted(map(Path, files)):
        content = file.read_bytes()
        sha.update(b"%s %d;" % (file.name.encode(), len(content)) + content)
    return sha.hexdigest()


def remember(path: Path, files: list[Path]) -> dict:
    """Saves that the user has named a plugin. Returns its entry in run records, {"path": ..., "sha256": ...}."""
    entry = {"path": str(path), "sha256": digest(files)}
    note = FOLDER.expanduser() / f"{entry['sha256']}.json"
    if not note.is_file():
        with contextlib.suppress(OSError):  # home is not writable: the user must name the plugin each time
            write_atomically(str(note), json.dumps({"path": str(path), "files": list(map(str, files))}))
    return entry


def unchanged(sha: str) -> str:
    """Returns the path of a plugin with this digest that the user has named before; "" if none or if it has changed."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads((FOLDER.expanduser() / f"{sha}.json").read_text(encoding="utf-8"))
        if digest(note["files"]) == sha:
            return str(note["path"])
    return ""


def require(entries) -> None:
    """Imports the plugins that a record or checkpoint names.

    Raises:
        ValueError: one is not loaded and the user has not named its code on this machine, or `entries` is not a list
            of {"path": ..., "sha256": ...}.
    """
    if not entries:
        return
    from . import plugins

    check(entries)
    plugins.load_all(requested(()))
    for entry in entries:
        path, sha = entry["path"], entry["sha256"]
        if sha in [plugin["sha256"] for plugin in loaded_plugins]:
            continue
        same_name = [p["path"] for p in loaded_plugins if os.path.basename(p["path"]) == os.path.basename(path)]
        if same_name:
            print(f"Note: the plugin {same_name[0]} differs from the one that the run was made with", file=sys.stderr)
            continue
        known = unchanged(sha)
        if not known:
            raise ValueError(
                f"the run was made with the plugin {path} (sha256 {sha[:12]}), which has not been used on this "
                f"machine or has changed: pass it with --plugin, or in the environment variable {VARIABLE}"
            )
        plugins.load_all([known])


def check(entries) -> None:
    """Raises ValueError unless `entries` is a list of {"path": text, "sha256": hex digits}."""
    for entry in entries if isinstance(entries, list) else [None]:
        fields = [entry.get(key) for key in ("path", "sha256")] if isinstance(entry, dict) else [None]
        if not all(isinstance(value, str) for value in fields) or not fields[1].isalnum():
            raise ValueError(
                f"corrupted run record or checkpoint: plugins must be a list of {{path, sha256}}, got {entries!r:.80}"
            )

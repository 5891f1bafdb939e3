"""Which plugins may be imported because a record or a checkpoint names them.

Reading such a file imports no code unless the user has named that very code on this machine: a file from elsewhere must
not choose what is run. So each plugin that the user names is noted in a file in `~/.cache/clipfit/plugins`, with
the files of its checkout that were executed and a digest of their contents.
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

VARIABLE = "CLIPFIT_PLUGINS"  # environment: paths or names of modules, separated as in PATH
FOLDER = Path("~/.cache/clipfit/plugins")


def requested(flags, configs=(), opts=None) -> list[str]:
    """The plugins that the user names.

    Args:
        flags: values of --plugin.
        configs: contents of config files, as dicts; their key PLUGINS counts.
        opts: KEY -> VALUE of the command line; PLUGINS counts.
    """
    sources = [source for source in os.environ.get(VARIABLE, "").split(os.pathsep) if source]
    for config in configs:
        sources += as_list(config.get("PLUGINS"))
    sources += as_list((opts or {}).get("PLUGINS"))
    return list(dict.fromkeys([*sources, *flags]))


def as_list(value) -> list[str]:
    """The value of PLUGINS as a list of names."""
    if isinstance(value, str):
        with contextlib.suppress(ValueError, SyntaxError):  # a path is no Python literal
            return as_list(ast.literal_eval(value))
        return [value] if value else []
    return [str(item) for item in value or ()]


def digest(files) -> str:
    """SHA-256 over the names and contents of files, as 64 hex digits."""
    sha = hashlib.sha256()
    for file in sorted(map(Path, files)):
        content = file.read_bytes()
        sha.update(b"%s %d;" % (file.name.encode(), len(content)) + content)
    return sha.hexdigest()


def remember(path: Path, files: list[Path]) -> dict:
    """Note a plugin that the user has named; returns what records say of it."""
    entry = {"path": str(path), "sha256": digest(files)}
    note = FOLDER.expanduser() / f"{entry['sha256']}.json"
    if not note.is_file():
        with contextlib.suppress(OSError):  # a home that cannot be written to: the plugin must be named again
            write_atomically(str(note), json.dumps({"path": str(path), "files": list(map(str, files))}))
    return entry


def unchanged(sha: str) -> str:
    """Path of a plugin that the user has named before and whose files have this digest; "" if there is none."""
    with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
        note = json.loads((FOLDER.expanduser() / f"{sha}.json").read_text(encoding="utf-8"))
        if digest(note["files"]) == sha:
            return str(note["path"])
    return ""


def require(entries) -> None:
    """Import the plugins that a record or checkpoint names.

    Raises:
        ValueError: one is not loaded and the user has not named its code on this machine, or `entries` is no list of
            {"path": ..., "sha256": ...}.
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
            print(f"Note: the plugin {same_name[0]} is not as it was when the run was made", file=sys.stderr)
            continue
        known = unchanged(sha)
        if not known:
            raise ValueError(
                f"the run was made with the plugin {path} (sha256 {sha[:12]}), which is not known on this machine or "
                f"has changed: name it with --plugin, or in the environment variable {VARIABLE}"
            )
        plugins.load_all([known])


def check(entries) -> None:
    """Raise ValueError unless `entries` is a list of {"path": text, "sha256": hex digits}."""
    for entry in entries if isinstance(entries, list) else [None]:
        fields = [entry.get(key) for key in ("path", "sha256")] if isinstance(entry, dict) else [None]
        if not all(isinstance(value, str) for value in fields) or not fields[1].isalnum():
            raise ValueError(f"a record or checkpoint names its plugins as {entries!r:.80}: it is corrupted")

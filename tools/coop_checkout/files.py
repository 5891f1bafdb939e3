"""Writes and removes files in a checkout atomically, and keeps the manifest of the installed files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

MANIFEST = ".clipfit-installed.json"


def read_manifest(checkout: Path) -> dict:
    """Returns what is installed: `files` (hashes by name), `folders`, and `import_line` (whether train.py was changed).

    A file has one hash. While it is being replaced it has two, those of the new and of the old content.
    """
    path = checkout / MANIFEST
    if not path.exists():
        return {"files": {}, "folders": [], "import_line": False}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        files = {name: list(hashes) for name, hashes in manifest["files"].items()}
        folders = manifest["folders"]
        import_line = bool(manifest["import_line"])
        if all(is_inside(name) for name in (*files, *folders)):
            return {"files": files, "folders": folders, "import_line": import_line}
    except (ValueError, KeyError, TypeError, AttributeError):
        pass
    raise ValueError(f"{path} is corrupted: restore it, or delete it and the files that CLIPFit added")


def is_inside(name: str) -> bool:
    """Returns whether a name in the manifest is a path inside the checkout."""
    return not Path(name).is_absolute() and ".." not in Path(name).parts


def write_manifest(checkout: Path, manifest: dict) -> None:
    write(checkout / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def missing_folders(checkout: Path, names: list[str]) -> set[str]:
    """Returns the folders that must be created for these files."""
    folders = {str(folder) for name in names for folder in Path(name).parents if str(folder) != "."}
    return {folder for folder in folders if not (checkout / folder).exists()}


def read_if_exists(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def unchanged(checkout: Path, manifest: dict, name: str) -> bool:
    """Returns whether a file has the content that was installed."""
    content = read_if_exists(checkout / name)
    return content is not None and sha256(content) in manifest["files"].get(name, ())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(path: Path, content: bytes, executable: bool = False) -> None:
    """Writes a file atomically: it always has its old or its new content. An existing file keeps its mode."""
    path = path.resolve()  # a symbolic link is not replaced
    temporary = temporary_name(path)
    temporary.write_bytes(content)
    mode = path.stat().st_mode if path.exists() else temporary.stat().st_mode | (0o111 if executable else 0)
    os.chmod(temporary, mode)
    os.replace(temporary, path)


def temporary_name(path: Path) -> Path:
    return path.with_name(path.name + ".clipfit-tmp")


def remove(path: Path) -> None:
    """Removes a file and, for a module, its compiled .pyc files."""
    path.unlink()
    cache = path.parent / "__pycache__"
    if path.suffix == ".py":
        for compiled in cache.glob(f"{path.stem}.*.pyc"):
            compiled.unlink()
    remove_if_empty(cache)


def remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()

"""Files in a checkout, written and removed so that an interruption does no harm, and the list of those installed."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path

MANIFEST = ".clipfit-installed.json"


def read_manifest(checkout: Path) -> dict:
    """What an installation added: hashes by file name, folders, and whether train.py got its line.

    A file has one hash, and while it is being replaced that of its old content, too.
    """
    path = checkout / MANIFEST
    if not path.exists():
        return {"files": {}, "folders": [], "import_line": False}
    try:
        manifest = json.loads(path.read_text(encoding="utf-8"))
        files, folders, added = manifest["files"], manifest["folders"], manifest["import_line"]
        inside = [name for name in (*files, *folders) if not Path(name).is_absolute() and ".." not in Path(name).parts]
        if len(inside) == len(files) + len(folders):
            return {"files": {k: list(v) for k, v in files.items()}, "folders": folders, "import_line": bool(added)}
    except (ValueError, KeyError, TypeError):
        pass
    raise ValueError(f"{path} is corrupted: remove it, and by hand what CLIPFit added, or restore a copy")


def write_manifest(checkout: Path, manifest: dict) -> None:
    write(checkout / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def missing_folders(checkout: Path, names: list[str]) -> set[str]:
    """Folders that must be made for the files named."""
    folders = {str(folder) for name in names for folder in Path(name).parents if str(folder) != "."}
    return {folder for folder in folders if not (checkout / folder).exists()}


def read_if_exists(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def unchanged(checkout: Path, manifest: dict, name: str) -> bool:
    content = read_if_exists(checkout / name)
    return content is not None and sha256(content) in manifest["files"].get(name, ())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(path: Path, content: bytes, executable: bool = False) -> None:
    """Write a file so that at any moment it has its old content or the new; an existing one keeps its mode."""
    path = path.resolve()  # a symbolic link stays one
    temporary = temporary_name(path)
    temporary.write_bytes(content)
    mode = path.stat().st_mode if path.exists() else temporary.stat().st_mode | (0o111 if executable else 0)
    os.chmod(temporary, mode)
    os.replace(temporary, path)


def temporary_name(path: Path) -> Path:
    return path.with_name(path.name + ".clipfit-tmp")


def remove(path: Path) -> None:
    """Remove a file, and of a module what Python has compiled from it."""
    path.unlink()
    cache = path.parent / "__pycache__"
    for compiled in cache.glob(f"{path.stem}.*.pyc") if path.suffix == ".py" else ():
        compiled.unlink()
    remove_if_empty(cache)


def remove_if_empty(folder: Path) -> None:
    if folder.is_dir() and not any(folder.iterdir()):
        folder.rmdir()

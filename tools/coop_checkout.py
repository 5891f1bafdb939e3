"""A checkout of CoOp or its relatives, as tools/install_into_coop.py sees it: train.py, files, the list of its own."""

from __future__ import annotations

import hashlib
import json
import os
import re
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
MANIFEST = ".clipfit-installed.json"
IMPORT = "import trainers.clipfit"
NEEDED = ("train.py", "trainers", "datasets", "configs/datasets", "configs/trainers")


def find_checkout(path: Path) -> Path:
    """The checkout's folder, without symbolic links. Raises ValueError if `path` is none, with what is missing."""
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder")
    path = path.resolve()
    if path == SOURCE:
        raise ValueError(f"{path} is CLIPFit itself; give the folder of a CoOp checkout")
    missing = [name for name in NEEDED if not (path / name).exists()]
    if missing:
        inner = sorted(str(p) for p in path.iterdir() if all((p / name).exists() for name in NEEDED))
        hint = f"; give {' or '.join(inner)}" if inner else "; give the folder with CoOp's train.py"
        raise ValueError(f"{path} is not a CoOp checkout, it has no {', no '.join(missing)}{hint}")
    return path


def add_line(checkout: Path) -> tuple[bytes, bytes]:
    """train.py as it is, and with the import of CLIPFit behind its last import of a trainer."""
    content = (checkout / "train.py").read_bytes()
    lines = content.splitlines(keepends=True)
    if any(is_import(line) for line in lines):
        return content, content
    places = [i for i, line in enumerate(lines) if re.match(rb"import trainers\.\w+", line)]
    if not places:
        raise ValueError(
            f"{checkout / 'train.py'} has no line 'import trainers. ...' behind which CLIPFit could be imported; add "
            f"'{IMPORT}' where trainers are imported, and run this again"
        )
    last = places[-1]
    end = b"\r\n" if lines[last].endswith(b"\r\n") else b"\n"
    lines[last : last + 1] = [lines[last].rstrip(b"\r\n") + end, IMPORT.encode() + end]
    return content, b"".join(lines)


def remove_line(content: bytes) -> bytes:
    return b"".join(line for line in content.splitlines(keepends=True) if not is_import(line))


def is_import(line: bytes) -> bool:
    return line.split(b"#")[0].split() == IMPORT.encode().split()


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
    raise ValueError(f"{path} is damaged: remove it, and by hand what CLIPFit added, or restore a copy")


def write_manifest(checkout: Path, manifest: dict) -> None:
    write(checkout / MANIFEST, (json.dumps(manifest, indent=1) + "\n").encode())


def missing_folders(checkout: Path, names: list[str]) -> set[str]:
    """Folders that will have to be made for the files named."""
    folders = {str(folder) for name in names for folder in Path(name).parents if str(folder) != "."}
    return {folder for folder in folders if not (checkout / folder).exists()}


def read_if_there(path: Path) -> bytes | None:
    return path.read_bytes() if path.exists() else None


def unchanged(checkout: Path, manifest: dict, name: str) -> bool:
    there = read_if_there(checkout / name)
    return there is not None and sha256(there) in manifest["files"].get(name, ())


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def write(path: Path, content: bytes, executable: bool = False) -> None:
    """Write a file so that at any moment its old content is there or the new; an existing one keeps its mode."""
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

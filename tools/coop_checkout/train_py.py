"""The folder and the train.py of a checkout of CoOp or its relatives."""

from __future__ import annotations

import re
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
IMPORT = "import trainers.clipfit"
NEEDED = ("train.py", "trainers", "datasets", "configs/datasets", "configs/trainers")
# An import of a trainer at the left margin that ends on its line
PLACE = re.compile(rb"(import trainers\b|from trainers[\w.]* import\b)[^(\\]*$")
NAMED = re.compile(rb"""["']CLIPFit["']""")


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
    """train.py as it is, and with the import of CLIPFit after its last import of a trainer."""
    content = (checkout / "train.py").read_bytes()
    lines = content.splitlines(keepends=True)
    if any(is_import(line) for line in lines):
        return content, content
    places = [i for i, line in enumerate(lines) if PLACE.match(line)]
    if not places:
        raise ValueError(
            f"{checkout / 'train.py'} imports no trainer after which CLIPFit could be imported; add the line "
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


def lines_for_clipfit(content: bytes) -> list[str]:
    """Lines of train.py that import CLIPFit or name it, with their numbers: "19: import trainers.clipfit"."""
    lines = {i: line for i, line in enumerate(content.splitlines(), start=1) if is_import(line) or NAMED.search(line)}
    return [f"{number}: {line.strip().decode('utf-8', 'replace')}" for number, line in lines.items()]

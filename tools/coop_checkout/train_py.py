"""Checks the folder of a CoOp checkout and edits its train.py."""

from __future__ import annotations

import re
from pathlib import Path

SOURCE = Path(__file__).resolve().parents[2]
IMPORT = "import trainers.clipfit"
REQUIRED = ("train.py", "trainers", "datasets", "configs/datasets", "configs/trainers")
# An unindented import of a trainer on a single line
TRAINER_IMPORT = re.compile(rb"(import trainers\b|from trainers[\w.]* import\b)[^(\\]*$")
CLIPFIT = re.compile(rb"""["']CLIPFit["']""")


def find_checkout(path: Path) -> Path:
    """Returns the resolved folder of the checkout. Raises ValueError with the missing files if it is not a checkout."""
    if not path.is_dir():
        raise ValueError(f"{path} is not a folder")
    path = path.resolve()
    if path == SOURCE:
        raise ValueError(f"{path} is the CLIPFit repository: give the folder of a CoOp checkout")
    missing = [name for name in REQUIRED if not (path / name).exists()]
    if missing:
        checkouts = sorted(str(p) for p in path.iterdir() if all((p / name).exists() for name in REQUIRED))
        hint = " or ".join(checkouts) or "the folder with CoOp's train.py"
        raise ValueError(f"{path} is not a CoOp checkout (missing: {', '.join(missing)}): give {hint}")
    return path


def add_line(checkout: Path) -> tuple[bytes, bytes]:
    """Returns the content of train.py, and the same with CLIPFit imported after the last import of a trainer."""
    content = (checkout / "train.py").read_bytes()
    lines = content.splitlines(keepends=True)
    if any(is_import(line) for line in lines):
        return content, content
    imports = [i for i, line in enumerate(lines) if TRAINER_IMPORT.match(line)]
    if not imports:
        raise ValueError(
            f"no import of a trainer in {checkout / 'train.py'}: add the line '{IMPORT}' after the other imports and "
            "run this command again"
        )
    last = imports[-1]
    newline = b"\r\n" if lines[last].endswith(b"\r\n") else b"\n"
    lines[last : last + 1] = [lines[last].rstrip(b"\r\n") + newline, IMPORT.encode() + newline]
    return content, b"".join(lines)


def remove_line(content: bytes) -> bytes:
    """Returns the content of train.py without the import of CLIPFit."""
    return b"".join(line for line in content.splitlines(keepends=True) if not is_import(line))


def is_import(line: bytes) -> bool:
    return line.split(b"#")[0].split() == IMPORT.encode().split()


def lines_for_clipfit(content: bytes) -> list[str]:
    """Returns the lines of train.py that mention CLIPFit, with line numbers: "19: import trainers.clipfit"."""
    lines = []
    for number, line in enumerate(content.splitlines(), start=1):
        if is_import(line) or CLIPFIT.search(line):
            lines.append(f"{number}: {line.strip().decode('utf-8', 'replace')}")
    return lines

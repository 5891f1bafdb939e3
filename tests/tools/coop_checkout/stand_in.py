"""Creates a minimal CoOp checkout for tests of the installer."""

from pathlib import Path

COOP = "import argparse\n\nimport datasets.dtd\n\nimport trainers.coop\nimport trainers.zsclip\n\n\ndef print_args():\n"


def write(path, text):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def snapshot(folder):
    return {str(p.relative_to(folder)): p.is_dir() or p.read_bytes() for p in Path(folder).rglob("*")}


def make_checkout(folder: Path) -> Path:
    for name in ("trainers/__init__.py", "trainers/coop.py", "datasets/dtd.py", "scripts/coop/main.sh"):
        write(folder / name, f"# {name}\n")
    for name in ("configs/datasets/dtd.yaml", "configs/trainers/CoOp/vit_b16.yaml"):
        write(folder / name, f"# {name}\n")
    write(folder / "train.py", COOP)
    (folder / "train.py").chmod(0o755)
    return folder

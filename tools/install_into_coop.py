"""Adds CLIPFit to a checkout of CoOp or of a code that grew out of it: KgCoOp, MaPLe, PromptSRC, ProGrad, ...

    python tools/install_into_coop.py PATH               shows what changes in train.py, then adds CLIPFit
    python tools/install_into_coop.py PATH --dry-run     only shows it
    python tools/install_into_coop.py PATH --uninstall   takes away what was added

PATH is the folder with train.py. Files are added, and train.py gets one more import line; nothing else of the checkout
changes, no file is overwritten but those of an earlier installation, and nothing is installed into Python. The list of
what was added, .clipfit-installed.json, stays in the checkout. Run again, it completes what was interrupted and updates
what is outdated. Needs Python 3.8 or later and nothing else. docs/coop_users.md tells more.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import hashlib
import itertools
import json
import os
import re
import sys
from pathlib import Path

SOURCE = Path(__file__).resolve().parent.parent
MANIFEST = ".clipfit-installed.json"
FILES = (  # what the scripts of CLIPFit need beside what every CoOp checkout has
    "trainers/clipfit.py",
    "trainers/common/*.py",
    "configs/trainers/CLIPFit/vit_*.yaml",
    "configs/recipes.yaml",
    "scripts/clipfit/*.sh",
    "scripts/base2new.sh",
    "scripts/fewshot.sh",
    "scripts/cross_dataset.sh",
    "scripts/domain_shift.sh",
    "scripts/options.sh",
    "scripts/progress.py",
    "tools/recipe.py",
)
IMPORT = "import trainers.clipfit"
NEEDED = ("train.py", "trainers", "datasets", "configs/datasets", "configs/trainers")


class Refused(Exception):
    """Why nothing was done, in one line."""


def main(argv=None) -> int:
    """Install or uninstall; a mistake becomes one line on stderr. Returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", metavar="PATH", help="folder of the checkout, the one with train.py")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, do nothing")
    parser.add_argument("--uninstall", action="store_true", help="remove what was added")
    args = parser.parse_args(argv)
    try:
        checkout = find_checkout(Path(args.path).expanduser())
        (uninstall if args.uninstall else install)(checkout, args.dry_run)
    except (Refused, OSError) as error:
        print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
        return 1
    return 0


def find_checkout(path: Path) -> Path:
    """The checkout's folder, without symbolic links. Raises Refused if `path` is none, with what is missing."""
    if not path.is_dir():
        raise Refused(f"{path} is not a folder")
    path = path.resolve()
    if path == SOURCE:
        raise Refused(f"{path} is CLIPFit itself; give the folder of a CoOp checkout")
    missing = [name for name in NEEDED if not (path / name).exists()]
    if missing:
        inner = sorted(str(p) for p in path.iterdir() if all((p / name).exists() for name in NEEDED))
        hint = f"; give {' or '.join(inner)}" if inner else "; give the folder with CoOp's train.py"
        raise Refused(f"{path} is not a CoOp checkout, it has no {', no '.join(missing)}{hint}")
    return path


def install(checkout: Path, dry_run: bool) -> None:
    manifest = read_manifest(checkout)
    new = {str(p.relative_to(SOURCE)): p.read_bytes() for pattern in FILES for p in sorted(SOURCE.glob(pattern))}
    add, outdated = plan(checkout, manifest, new)
    train_py, with_line = add_line(checkout)
    adds_line = with_line != train_py
    show_diff(train_py, with_line)
    report("adds", add)
    report("removes, because this version does not need it any more,", outdated)
    if not add and not outdated and not adds_line:
        print(f"CLIPFit is installed in {checkout}; nothing to do")
        return
    if dry_run:
        print("Nothing was done (--dry-run)")
        return
    # The list comes first and the import last: whenever this is interrupted, train.py works, and running it again
    # completes it.
    for name in add:
        before = [sha256(content) for content in (read_if_there(checkout / name),) if content is not None]
        manifest["files"][name] = [sha256(new[name]), *before]
    manifest["folders"] = sorted(set(manifest["folders"]) | missing_folders(checkout, add))
    manifest["import_line"] = manifest["import_line"] or adds_line
    write_manifest(checkout, manifest)
    for name in add:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        write(checkout / name, new[name], executable=name.endswith(".sh"))
    if adds_line:
        write(checkout / "train.py", with_line)
    for name in outdated:
        remove(checkout / name)
        del manifest["files"][name]
    manifest["files"].update({name: [sha256(new[name])] for name in add})
    write_manifest(checkout, manifest)
    print(f"CLIPFit is installed in {checkout}. Next, there:")
    print("    bash scripts/clipfit/base2new.sh dtd 1 --data DATA      (--help tells the options)")


def plan(checkout: Path, manifest: dict, new: dict[str, bytes]) -> tuple[list[str], list[str]]:
    """Names to write and names of former files to remove. Raises Refused where a local file is in the way."""
    add = [name for name, content in new.items() if read_if_there(checkout / name) != content]
    in_the_way = [name for name in add if (checkout / name).exists() and not unchanged(checkout, manifest, name)]
    in_the_way += [name for name in ("trainers/common.py",) if (checkout / name).exists()]  # hidden by the folder
    if in_the_way:
        raise Refused(
            f"{checkout} has files of its own, or changed since CLIPFit was installed, that would be overwritten: "
            f"{', '.join(in_the_way)}; move them away first"
        )
    former = [name for name in manifest["files"] if name not in new]
    return add, [name for name in former if unchanged(checkout, manifest, name)]


def uninstall(checkout: Path, dry_run: bool) -> None:
    if not (checkout / MANIFEST).exists():
        raise Refused(f"CLIPFit is not installed in {checkout}: it has no {MANIFEST}")
    manifest = read_manifest(checkout)
    train_py = (checkout / "train.py").read_bytes()
    without = remove_line(train_py) if manifest["import_line"] else train_py
    there = [name for name in manifest["files"] if (checkout / name).exists()]
    gone = [name for name in there if unchanged(checkout, manifest, name)]
    show_diff(train_py, without)
    report("removes", gone)
    report("keeps, because it was changed since,", [name for name in there if name not in gone])
    if dry_run:
        print("Nothing was done (--dry-run)")
        return
    if without != train_py:
        write(checkout / "train.py", without)
    for name in gone:
        remove(checkout / name)
    for name in ("train.py", MANIFEST, *manifest["files"]):
        with contextlib.suppress(FileNotFoundError):  # left by an installation that was killed
            temporary_name(checkout / name).unlink()
    for folder in sorted(manifest["folders"], key=len, reverse=True):
        remove_if_empty(checkout / folder)
    (checkout / MANIFEST).unlink()
    print(f"CLIPFit is uninstalled from {checkout}; outputs of runs are still there")


def add_line(checkout: Path) -> tuple[bytes, bytes]:
    """train.py as it is, and with the import of CLIPFit behind its last import of a trainer."""
    content = (checkout / "train.py").read_bytes()
    lines = content.splitlines(keepends=True)
    if any(is_import(line) for line in lines):
        return content, content
    places = [i for i, line in enumerate(lines) if re.match(rb"import trainers\.\w+", line)]
    if not places:
        raise Refused(
            f"{checkout / 'train.py'} has no line 'import trainers. ...' behind which CLIPFit could be imported; add "
            f"'{IMPORT}' where trainers are imported, and run this again"
        )
    end = b"\r\n" if lines[places[-1]].endswith(b"\r\n") else b"\n"
    lines.insert(places[-1] + 1, IMPORT.encode() + end)
    return content, b"".join(lines)


def remove_line(content: bytes) -> bytes:
    return b"".join(line for line in content.splitlines(keepends=True) if not is_import(line))


def is_import(line: bytes) -> bool:
    return line.split(b"#")[0].split() == IMPORT.encode().split()


def show_diff(old: bytes, new: bytes) -> None:
    texts = [content.decode("utf-8", "replace").splitlines(keepends=True) for content in (old, new)]
    for line in difflib.unified_diff(*texts, "train.py", "train.py", n=2):
        print(line.rstrip("\r\n"))


def report(what: str, names: list[str]) -> None:
    if names:
        print(f"{what} {len(names)} file{'s'[: len(names) > 1]}:")
        for folder, group in itertools.groupby(names, os.path.dirname):
            print(f"    {folder}: {', '.join(map(os.path.basename, group))}")


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
    raise Refused(f"{path} is damaged: remove it, and by hand what CLIPFit added, or restore a copy")


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


if __name__ == "__main__":
    sys.exit(main())

"""Installs CLIPFit into a checkout of CoOp or of a repository based on it: KgCoOp, MaPLe, PromptSRC, ProGrad, ...

    python tools/install_into_coop.py PATH               show the changes, then install CLIPFit
    python tools/install_into_coop.py PATH --dry-run     only show the changes
    python tools/install_into_coop.py PATH --uninstall   remove CLIPFit

PATH is the folder with train.py. The installer adds files and one import line in train.py. It overwrites only files of
an earlier installation, and installs no Python package. The installed files are listed in .clipfit-installed.json in
the checkout. Run the same command again to resume after an interruption or to update. If code in the checkout would
prevent CLIPFit from running, the installer shows the lines to change and does nothing. It needs only Python 3.8 or
later. See docs/coop_users.md.
"""

from __future__ import annotations

import contextlib
import difflib
import itertools
import os
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.coop_checkout.contents import contents  # noqa: E402
from tools.coop_checkout.files import (  # noqa: E402
    MANIFEST,
    missing_folders,
    read_if_exists,
    read_manifest,
    remove,
    remove_if_empty,
    sha256,
    temporary_name,
    unchanged,
    write,
    write_manifest,
)
from tools.coop_checkout.obstacles import find_obstacles  # noqa: E402
from tools.coop_checkout.train_py import add_line, find_checkout, lines_for_clipfit, remove_line  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    parser.add_argument("path", metavar="PATH", help="folder of the checkout, with train.py")
    parser.add_argument("--dry-run", action="store_true", help="show the changes without making them")
    parser.add_argument("--uninstall", action="store_true", help="remove CLIPFit")
    return parser.parse_args(argv)


def run(args) -> None:
    """Installs or uninstalls CLIPFit. Raises ValueError or OSError with a one-line message if that fails."""
    checkout = find_checkout(Path(args.path).expanduser())
    if args.uninstall:
        uninstall(checkout, args.dry_run)
    else:
        install(checkout, args.dry_run)


def install(checkout: Path, dry_run: bool) -> None:
    """Installs CLIPFit, updates an installation, or completes an interrupted one."""
    manifest = read_manifest(checkout)
    new = contents()
    add, outdated = plan_changes(checkout, manifest, new)
    train_py, with_line = add_line(checkout)
    refuse_obstacles(checkout)
    adds_line = with_line != train_py
    show_diff(train_py, with_line)
    print_files("adds", add)
    print_files("removes (outdated)", outdated)
    if not add and not outdated and not adds_line:
        print(f"CLIPFit is already installed in {checkout} and up to date")
        return
    if dry_run:
        print("No changes made (--dry-run)")
        return
    # The manifest is written first and the import last. If the first installation is interrupted, train.py still works,
    # and the same command completes the installation.
    for name in add:
        manifest["files"][name] = [sha256(new[name])]
        old_content = read_if_exists(checkout / name)
        if old_content is not None:
            manifest["files"][name].append(sha256(old_content))
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
    print(f"Installed CLIPFit in {checkout}. Next, run in this folder:")
    print("    bash scripts/clipfit/base2new.sh dtd 1 --data DATA      (--help shows the options)")


def refuse_obstacles(checkout: Path) -> None:
    """Raises ValueError if code in the checkout prevents CLIPFit from running. Prints the lines and their remedies."""
    obstacles = find_obstacles(checkout)
    if obstacles:
        print(*obstacles, sep="\n")
        locations = ", ".join(obstacle.split(": ")[0] for obstacle in obstacles)
        raise ValueError(
            f"{locations} in {checkout} would prevent CLIPFit from running correctly; nothing was installed. "
            "Change the code as shown above and run this command again"
        )


def plan_changes(checkout: Path, manifest: dict, new: dict[str, bytes]) -> tuple[list[str], list[str]]:
    """Returns the files to write and the outdated files to remove. Raises ValueError if the user has changed one."""
    add = [name for name, content in new.items() if read_if_exists(checkout / name) != content]
    conflicts = [name for name in add if (checkout / name).exists() and not unchanged(checkout, manifest, name)]
    if (checkout / "trainers/common.py").exists():  # Python would import the folder trainers/common instead
        conflicts.append("trainers/common.py")
    if conflicts:
        raise ValueError(
            f"the installation would overwrite files in {checkout} that you added or changed: {', '.join(conflicts)}; "
            "move them first"
        )
    old = [name for name in manifest["files"] if name not in new]
    return add, [name for name in old if unchanged(checkout, manifest, name)]


def uninstall(checkout: Path, dry_run: bool) -> None:
    """Removes the installed files that the user has not changed, and the import line in train.py."""
    if not (checkout / MANIFEST).exists():
        raise ValueError(f"CLIPFit is not installed in {checkout}: missing {MANIFEST}")
    manifest = read_manifest(checkout)
    train_py = (checkout / "train.py").read_bytes()
    without = remove_line(train_py) if manifest["import_line"] else train_py
    existing = [name for name in manifest["files"] if (checkout / name).exists()]
    to_remove = [name for name in existing if unchanged(checkout, manifest, name)]
    show_diff(train_py, without)
    print_files("removes", to_remove)
    print_files("keeps (changed since the installation)", [name for name in existing if name not in to_remove])
    if dry_run:
        print("No changes made (--dry-run)")
        return
    if without != train_py:
        write(checkout / "train.py", without)
    for name in to_remove:
        remove(checkout / name)
    for name in ("train.py", MANIFEST, *manifest["files"]):
        with contextlib.suppress(FileNotFoundError):  # temporary file of a killed installation
            temporary_name(checkout / name).unlink()
    for folder in sorted(manifest["folders"], key=len, reverse=True):
        remove_if_empty(checkout / folder)
    (checkout / MANIFEST).unlink()
    print(f"Uninstalled CLIPFit from {checkout}; the run directories were kept")
    if lines_for_clipfit(without):
        print("train.py still mentions CLIPFit; remove the lines that you added for it:")
        print(*(f"    train.py:{line}" for line in lines_for_clipfit(without)), sep="\n")


def show_diff(old: bytes, new: bytes) -> None:
    """Prints the changes to train.py as a diff."""
    texts = [content.decode("utf-8", "replace").splitlines(keepends=True) for content in (old, new)]
    for line in difflib.unified_diff(*texts, "train.py", "train.py", n=2):
        print(line.rstrip("\r\n"))


def print_files(action: str, names: list[str]) -> None:
    """Prints the files that an action concerns, one line per folder."""
    if names:
        print(f"{action} {len(names)} {'file' if len(names) == 1 else 'files'}:")
        for folder, group in itertools.groupby(names, os.path.dirname):
            line = f"{folder}: {', '.join(map(os.path.basename, group))}"
            print(textwrap.fill(line, 100, initial_indent="    ", subsequent_indent="        "))


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv), resume="Run the same command again to resume.")


if __name__ == "__main__":
    sys.exit(main())

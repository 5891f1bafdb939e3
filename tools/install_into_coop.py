"""Adds CLIPFit to a checkout of CoOp or of a code that grew out of it: KgCoOp, MaPLe, PromptSRC, ProGrad, ...

    python tools/install_into_coop.py PATH               shows what changes in train.py, then adds CLIPFit
    python tools/install_into_coop.py PATH --dry-run     only shows it
    python tools/install_into_coop.py PATH --uninstall   takes away what was added

PATH is the folder with train.py. Files are added, and train.py gets one more import line; nothing else of the checkout
changes, no file is overwritten but those of an earlier installation, and nothing is installed into Python. The list of
what was added, .clipfit-installed.json, stays in the checkout. Run again, it completes what was interrupted and updates
what is outdated. If train.py would keep CLIPFit from running, nothing is done; the lines to change are shown.
Needs Python 3.8 or later and nothing else. docs/coop_users.md tells more.
"""

from __future__ import annotations

import argparse
import contextlib
import difflib
import itertools
import os
import sys
import textwrap
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

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
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("path", metavar="PATH", help="folder of the checkout, the one with train.py")
    parser.add_argument("--dry-run", action="store_true", help="show what would be done, do nothing")
    parser.add_argument("--uninstall", action="store_true", help="remove what was added")
    return parser.parse_args(argv)


def run(args) -> None:
    """Install or uninstall. Raises ValueError or OSError, one line each, where that is not possible."""
    checkout = find_checkout(Path(args.path).expanduser())
    (uninstall if args.uninstall else install)(checkout, args.dry_run)


def install(checkout: Path, dry_run: bool) -> None:
    manifest = read_manifest(checkout)
    new = contents()
    add, outdated = plan(checkout, manifest, new)
    train_py, with_line = add_line(checkout)
    refuse_obstacles(checkout)
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
    # The list comes first and the import last: a first installation that is interrupted leaves a train.py that works,
    # and running it again completes it.
    for name in add:
        before = [sha256(content) for content in (read_if_exists(checkout / name),) if content is not None]
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


def refuse_obstacles(checkout: Path) -> None:
    """Raise ValueError if something in the checkout keeps CLIPFit from running; prints what, and the remedy."""
    obstacles = find_obstacles(checkout)
    if obstacles:
        print(*obstacles, sep="\n")
        places = ", ".join(obstacle.split(": ")[0] for obstacle in obstacles)
        raise ValueError(
            f"CLIPFit would not run as it should in {checkout}, because of {places}; change that as shown above and "
            "run this again. Nothing was done"
        )


def plan(checkout: Path, manifest: dict, new: dict[str, bytes]) -> tuple[list[str], list[str]]:
    """Names to write and names of former files to remove. Raises ValueError where a local file is in the way."""
    add = [name for name, content in new.items() if read_if_exists(checkout / name) != content]
    in_the_way = [name for name in add if (checkout / name).exists() and not unchanged(checkout, manifest, name)]
    in_the_way += [name for name in ("trainers/common.py",) if (checkout / name).exists()]  # hidden by the folder
    if in_the_way:
        raise ValueError(
            f"{checkout} has files of its own, or changed since CLIPFit was installed, that would be overwritten: "
            f"{', '.join(in_the_way)}; move them away first"
        )
    former = [name for name in manifest["files"] if name not in new]
    return add, [name for name in former if unchanged(checkout, manifest, name)]


def uninstall(checkout: Path, dry_run: bool) -> None:
    if not (checkout / MANIFEST).exists():
        raise ValueError(f"CLIPFit is not installed in {checkout}: it has no {MANIFEST}")
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
    if lines_for_clipfit(without):
        print("train.py still names CLIPFit; undo by hand what you added for it:")
        print(*(f"    train.py:{line}" for line in lines_for_clipfit(without)), sep="\n")


def show_diff(old: bytes, new: bytes) -> None:
    texts = [content.decode("utf-8", "replace").splitlines(keepends=True) for content in (old, new)]
    for line in difflib.unified_diff(*texts, "train.py", "train.py", n=2):
        print(line.rstrip("\r\n"))


def report(what: str, names: list[str]) -> None:
    if names:
        print(f"{what} {len(names)} file{'s'[: len(names) > 1]}:")
        for folder, group in itertools.groupby(names, os.path.dirname):
            line = f"{folder}: {', '.join(map(os.path.basename, group))}"
            print(textwrap.fill(line, 100, initial_indent="    ", subsequent_indent="        "))


def main(argv=None) -> int:
    again = "The same command continues where it stopped."
    return exit_code(run, parse_args(argv), resume=again)


if __name__ == "__main__":
    sys.exit(main())

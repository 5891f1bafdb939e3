"""Fetches datasets into CoOp's folders, and checks them.

python tools/prepare_data.py eurosat dtd --root DATA     fetch; run it again to go on where it stopped
python tools/prepare_data.py --check --root DATA         what is there, what is missing or wrong, and the remedy
python tools/prepare_data.py --check folder --root IMAGES

Datasets go by their file in configs/datasets or their registry name. The exit code is 0 if all is good.
"""

import argparse
import difflib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime  # noqa: E402, F401, I001  (makes dassl importable, so it comes first)

import datasets  # noqa: E402
from dassl.data.datasets import DATASET_REGISTRY  # noqa: E402
from runtime.user_errors import USER_ERRORS, one_line  # noqa: E402
from tools.prepare.check_data import check  # noqa: E402
from tools.prepare.download_plans import load_recipes  # noqa: E402


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", metavar="DATASET", help=f"one of: {' '.join(datasets.__all__)}")
    parser.add_argument("--root", required=True, help="data folder, the one that train.py takes as --root")
    parser.add_argument("--check", action="store_true", help="check only, all of CoOp's datasets if none is named")
    parser.add_argument("--no-images", action="store_true", help="check without reading the images")
    return parser.parse_args(argv)


def registry_name(name):
    """Registry name of a dataset that goes by it or by its config file; ValueError with the nearest name."""
    known = {DATASET_REGISTRY.get(n).__module__.split(".")[-1]: n for n in (*load_recipes(), "Digits", "Folder")}
    known |= {registered.lower(): registered for registered in known.values()}
    if name.lower() not in known:
        nearest = difflib.get_close_matches(name.lower(), known, 1, 0.4)
        hint = f"did you mean {nearest[0]}?" if nearest else f"there are: {', '.join(datasets.__all__)}"
        raise ValueError(f"unknown dataset {name!r}; {hint}")
    return known[name.lower()]


def show(report):
    print(f"{report.name:<20} {report.state:<8} {report.counts}")
    for problem in report.problems:
        print(f"    {problem}")


def fetch(name, root):
    """Fetch one dataset; what could not be had, one line each."""
    if name == "Folder":
        raise ValueError("images of your own need no preparing; docs/datasets.md tells how they are laid out")
    if name == "Digits":
        DATASET_REGISTRY.get(name).at(root).prepare()
        return []
    from tools.prepare.install import prepare  # the check needs no requirements-data.txt

    return prepare(name, root)


def run(args):
    """Returns whether all is good."""
    names = list(dict.fromkeys(map(registry_name, args.datasets)))
    if not names and not args.check:
        raise ValueError("name the datasets to fetch, or pass --check; --help lists them")
    if args.check and not os.path.isdir(args.root):
        raise FileNotFoundError(f"there is no data folder {args.root}: pass the right --root")
    good = True
    for name in names or load_recipes():
        failures = [] if args.check else fetch(name, args.root)
        for failure in failures:
            print(f"error: {failure}", file=sys.stderr)
        if not failures:
            report = check(name, args.root, decode=args.check and not args.no_images)
            show(report)
        good = good and not failures and report.state == "ok"
    return good


def main(argv=None):
    """Run; a mistake of the user's becomes one line on stderr. Returns the exit code."""
    try:
        return 0 if run(parse_args(argv)) else 1
    except KeyboardInterrupt:
        print("\nInterrupted. The same command goes on where it stopped.", file=sys.stderr)
        return 130
    except USER_ERRORS as error:
        print(f"error: {one_line(error)}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())

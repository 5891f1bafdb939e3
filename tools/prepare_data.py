"""Fetches datasets into CoOp's folders, and checks them.

python tools/prepare_data.py eurosat dtd --root DATA     fetch; run it again to resume
python tools/prepare_data.py --check --root DATA         what is complete, what is missing or wrong, and the remedy
python tools/prepare_data.py --check folder --root IMAGES

Datasets go by their file in configs/datasets or their registry name. The exit code is 0 if all is good.
"""

import argparse
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime  # noqa: E402, F401, I001  (makes dassl importable, so it comes first)

from dassl.data.datasets import DATASET_REGISTRY  # noqa: E402
from datasets import catalogue  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.prepare.check_data import check  # noqa: E402


def parse_args(argv=None):
    known = " ".join(catalogue.by_config())
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("datasets", nargs="*", metavar="DATASET", help=f"one of: {known}")
    parser.add_argument("--root", required=True, help="data folder, the one that train.py takes as --root")
    parser.add_argument("--check", action="store_true", help="check only; all but digits and folder if none is named")
    parser.add_argument("--no-images", action="store_true", help="check without reading the images")
    return parser.parse_args(argv)


def to_be_fetched():
    """Registry names of the datasets that do not come with a package and are not the user's own images."""
    classes = map(DATASET_REGISTRY.get, catalogue.entries())
    return [cls.__name__ for cls in classes if cls.dataset_dir and not cls.default_root]


def show(report):
    print(f"{report.name:<20} {report.state:<8} {report.counts}")
    for problem in report.problems:
        print(f"    {problem}")


def fetch(name, root):
    """Fetch one dataset; returns one line per file or folder that could not be fetched."""
    dataset = DATASET_REGISTRY.get(name)
    if not dataset.dataset_dir:
        raise ValueError("images of your own need no preparing; docs/datasets.md explains their layouts")
    if dataset.default_root:
        dataset.at_root(root).prepare()
        return []
    from tools.prepare.install import prepare  # the check needs no requirements-data.txt

    return prepare(name, root)


def run(args):
    """Returns the exit code, 0 if all is good."""
    names = list(dict.fromkeys(catalogue.resolve(text).name for text in args.datasets))
    if not names and not args.check:
        raise ValueError("name the datasets to fetch, or pass --check; --help lists them")
    if args.check and not os.path.isdir(args.root):
        raise FileNotFoundError(f"there is no data folder {args.root}: pass the right --root")
    good = True
    for name in names or to_be_fetched():
        failures = [] if args.check else fetch(name, args.root)
        for failure in failures:
            print(f"error: {failure}", file=sys.stderr)
        if not failures:
            report = check(name, args.root, decode=args.check and not args.no_images)
            show(report)
        good = good and not failures and report.state == "ok"
    return 0 if good else 1


def main(argv=None):
    again = "The same command continues where it stopped."
    return exit_code(run, parse_args(argv), resume=again)


if __name__ == "__main__":
    sys.exit(main())

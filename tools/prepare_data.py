"""Downloads datasets into CoOp's folder layout and checks them.

python tools/prepare_data.py eurosat dtd --root DATA         download; the same command resumes
python tools/prepare_data.py eurosat --root DATA --yes       also if no checksum is published, without asking
python tools/prepare_data.py --check --root DATA             list what is complete, wrong or missing
python tools/prepare_data.py --check folder --root IMAGES    check your own images

A dataset is given by its config name (dtd) or its registry name (DescribableTextures). The exit code is 0 if all
datasets are complete.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import runtime  # noqa: E402, F401, I001  (makes dassl importable, so it comes first)

from dassl.data.datasets import DATASET_REGISTRY  # noqa: E402
from datasets import catalogue  # noqa: E402
from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.prepare.check_data import check  # noqa: E402


def parse_args(argv=None):
    known = " ".join(catalogue.by_config())
    parser = Parser(description=__doc__)
    parser.add_argument("datasets", nargs="*", metavar="DATASET", help=f"one of: {known}")
    parser.add_argument("--root", required=True, help="folder with the datasets, as for train.py --root")
    parser.add_argument(
        "--check",
        action="store_true",
        help="check without downloading; without DATASET, check all but folder and those that need no download",
    )
    parser.add_argument(
        "--yes", action="store_true", help="download files without a published checksum, without asking"
    )
    parser.add_argument(
        "--no-images", action="store_true", help="with --check: do not decode the images, which is faster"
    )
    return parser.parse_args(argv)


def downloadable():
    """Returns the registry names of all datasets except those of a Python package and the user's own images."""
    classes = map(DATASET_REGISTRY.get, catalogue.entries())
    return [cls.__name__ for cls in classes if cls.dataset_dir and not cls.default_root]


def one_per_folder(names):
    """Returns the first of the datasets in each folder: variants that differ in their splits share the files."""
    first = {}
    for name in names:
        dataset = DATASET_REGISTRY.get(name)
        first.setdefault((dataset.dataset_dir, dataset.image_dir), name)
    return list(first.values())


def show(report):
    print(f"{report.name:<20} {report.state:<8} {report.counts}")
    for problem in report.problems:
        print(f"    {problem}")
    for note in report.notes:
        print(f"    note: {note}")


def fetch(name, root):
    """Downloads one dataset. Returns one line per file or folder that could not be downloaded."""
    dataset = DATASET_REGISTRY.get(name)
    if not dataset.dataset_dir:
        raise ValueError(f"{name} needs no download; see docs/datasets.md for the layouts of your own images")
    if dataset.default_root:
        dataset.at_root(root).prepare()
        return []
    from tools.prepare.install import prepare  # imported here: --check does not need requirements-data.txt

    return prepare(name, root)


def confirm(names, root):
    """Names the sources without a published checksum, and asks whether to use them.

    Raises ValueError if the user declines or cannot be asked.
    """
    names = [name for name in names if name in downloadable()]
    if not names:
        return
    from tools.prepare.install import unverified  # imported here: bundled datasets do not need requirements-data.txt

    sources = []
    for name in names:
        sources += [f"  {name}: {' '.join(targets)} from {url}" for targets, url in unverified(name, root)]
    if not sources:
        return
    print("No checksum is published for these sources, so a changed file would not be noticed:", *sources, sep="\n")
    answer = ""
    if sys.stdin is not None and sys.stdin.isatty():
        answer = input("Use them? They are tried in turn after the sources with a checksum. [y/N] ")
    if answer.strip().lower() not in ("y", "yes"):
        raise ValueError("nothing was downloaded: --yes accepts sources without a published checksum")


def run(args):
    """Downloads or checks the datasets. Returns the exit code: 0 if all are complete, else 1."""
    names = list(dict.fromkeys(catalogue.resolve(text).name for text in args.datasets))
    if not names and not args.check:
        raise ValueError("missing DATASET: name the datasets to download, or pass --check (--help lists the datasets)")
    if args.check and not os.path.isdir(args.root):
        raise FileNotFoundError(f"missing data folder {args.root}: pass the folder with the datasets as --root")
    if not args.check and not args.yes:
        confirm(names, args.root)
    complete = True
    for name in names or one_per_folder(downloadable()):
        failures = [] if args.check else fetch(name, args.root)
        for failure in failures:
            print(f"error: {failure}", file=sys.stderr)
        if not failures:
            report = check(name, args.root, decode=args.check and not args.no_images)
            show(report)
        complete = complete and not failures and report.state == "ok"
    return 0 if complete else 1


def main(argv=None):
    return exit_code(run, parse_args(argv), resume="Run the same command again to resume.")


if __name__ == "__main__":
    sys.exit(main())

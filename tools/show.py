"""Writes the page of a run: results, curves, confused classes, and the images that it gets right and wrong.

python tools/show.py output/mine                        output/mine/page.html, and split.csv next to it
python tools/show.py output/mine output/other           a page for each run, in its folder
python tools/show.py output/mine --no-images            no images, no paths: a page to share if the data are private
python tools/show.py output/mine --root DATA            the images are in another folder than during training

The page is one file that needs no network. It compares the run with zero-shot CLIP, shows the most confident mistakes
and the images that training mended or broke, each with its best classes before and after, and where the image encoder
looked. What a run has not recorded is left out, and the page says so. See docs/show.md.
"""

import os
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trainers  # noqa: E402, F401  (makes dassl importable)
from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.classifier_options import add_options, load_plugins  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_options(parser, "device", "backbone", several=True)
    parser.add_argument("--out", metavar="FOLDER", help="output folder (default: the run directory)")
    parser.add_argument("--root", default="", help="folder with the datasets (default: that of the run)")
    parser.add_argument("--no-images", action="store_true", help="show no images and no paths of images")
    return parser.parse_args(argv)


def output_folders(runs: list, out: str | None) -> list[Path]:
    """Returns the folder of each page: that of the run or, with --out, OUT, and a folder in it for each of several."""
    if not out:
        return [run.folder for run in runs]
    if len(runs) == 1:
        return [Path(out)]
    names = [re.sub(r"[^\w.-]+", "-", os.path.relpath(run.folder)).strip("-.") or "run" for run in runs]
    return [Path(out) / (f"{name}-{names[:i].count(name) + 1}" if name in names[:i] else name)
            for i, name in enumerate(names)]  # fmt: skip


def run(args) -> None:
    from tools.analysing.runs import check_distinct
    from tools.showing.page import Options, write_page  # imports matplotlib
    from tools.showing.run import read_run

    check_distinct(args.runs)
    load_plugins(args)
    runs = [read_run(path) for path in args.runs]
    options = Options(not args.no_images, args.root, args.backbone, args.device)
    for shown, folder in zip(runs, output_folders(runs, args.out), strict=True):
        print(f"Page: {write_page(shown, options, folder)}")


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())

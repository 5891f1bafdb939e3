"""Evaluates finished runs on corrupted test images: ImageNet-C's corruptions, lower resolution, JPEG, loss of colour.

python tools/robustness.py RUN                                             the fifteen corruptions in five severities
python tools/robustness.py RUN1 RUN2 RUN3 --corruptions all                and four extra ones; seeds are averaged
python tools/robustness.py RUN --corruptions noise fog --severities 3 --images 500
python tools/robustness.py RUN --sweep resolution jpeg grey                sweeps of image quality
python tools/robustness.py RUN --sweep jpeg --levels 80 60 40
python tools/robustness.py RUN --corrupted-images DATA/imagenet-c          the published images

Each run is compared with its own zero-shot CLIP on the same images. Nothing is trained. The 8-bit pixels are corrupted
after the resize and crop of the run. An image is corrupted equally for all runs, in any order and by any number of
workers. Writes a page, CSV files and robustness.json. The same command resumes. See docs/robustness.md.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trainers  # noqa: E402, F401  (makes dassl importable)
from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.classifier_options import add_options, load_plugins, output_folder  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_options(parser, "epoch", "device", "precision", "backbone", several=True)
    parser.add_argument(
        "--corruptions", nargs="+", default=None, metavar="NAME",
        help="names, or groups: common (the fifteen of ImageNet-C), extra, all, own (without those that "
        "need a package), noise, blur, weather, digital (default: common, or none with --sweep)",
    )  # fmt: skip
    parser.add_argument(
        "--severities", type=int, nargs="+", default=[1, 2, 3, 4, 5], metavar="N", help="1 to 5 (default: all)"
    )
    parser.add_argument("--sweep", nargs="+", default=[], metavar="NAME", help="resolution, jpeg, grey")
    parser.add_argument(
        "--levels", type=int, nargs="+", default=[], metavar="N",
        help="of one sweep: pixels of the shorter side, JPEG quality, %% grey",
    )  # fmt: skip
    parser.add_argument(
        "--corrupted-images", default="", metavar="FOLDER",
        help="images that are corrupted already, as FOLDER/<corruption>/<severity>/<class>/<file>, such as ImageNet-C; "
        "or imagenet_c: the folder of that dataset",
    )  # fmt: skip
    parser.add_argument("--seed", type=int, default=1, help="of the corruptions and the sample (default: 1)")
    parser.add_argument("--images", type=int, help="number of test images, sampled (default: all)")
    parser.add_argument("--root", default="", help="folder with the datasets (default: that of the first run)")
    parser.add_argument("--classes", default="", choices=("all", "base", "new"), help="default: those of the runs")
    parser.add_argument("--out", metavar="FOLDER", help="output folder (default: RUN/robustness, or output/robustness)")
    parser.add_argument("--batch-size", type=int, default=100, help="images per batch (default: 100)")
    parser.add_argument("--workers", type=int, default=2, help="processes that corrupt images (default: 2)")
    return parser.parse_args(argv)


def check_args(args) -> None:
    """Raises ValueError for an invalid option, or a corruption that needs a missing package."""
    from tools.corrupting.catalogue import names_of
    from tools.corrupting.sweeps import check_names

    for name, least in (("batch_size", 1), ("workers", 0), ("seed", 0), ("images", 1)):
        value = getattr(args, name)
        if value is not None and value < least:
            raise ValueError(f"--{name.replace('_', '-')} must be at least {least}, got {value}")
    for severity in args.severities:
        if severity not in (1, 2, 3, 4, 5):
            raise ValueError(f"--severities must be from 1 to 5, got {severity}")
    args.severities = sorted(set(args.severities))
    words = args.corruptions if args.corruptions is not None else [] if args.sweep else ["common"]
    args.corruptions = names_of(words, computed=not args.corrupted_images)
    check_names(args.sweep, args.levels)


def conditions_of(args, size) -> list:
    """Returns the clean images, the corruptions, and the levels of the sweeps for images of `size` (height, width)."""
    from tools.corrupting.catalogue import CLEAN, Condition, check_size
    from tools.corrupting.sweeps import levels_of

    if not args.corrupted_images:
        check_size(args.corruptions, size)
    conditions = [Condition(CLEAN)]
    conditions += [Condition(name, severity) for name in args.corruptions for severity in args.severities]
    for name in dict.fromkeys(args.sweep):
        conditions += [Condition(name, level) for level in levels_of(name, args.levels, min(size))]
    return conditions


def run(args) -> None:
    from tools.corrupting import page  # imports pandas and matplotlib
    from tools.corrupting.evaluation import Evaluation
    from tools.corrupting.setup import load, notes_of, record_of
    from tools.corrupting.summary import rows_of
    from tools.reporting.text import aligned
    from trainers.common.runs.files import FolderLock

    check_args(args)
    load_plugins(args)
    models, cfg, images = load(args)
    sizes = {tuple(model.classifier.trainer.cfg.INPUT.SIZE) for model in models}
    conditions = conditions_of(args, min(sizes))
    images.check_folder(conditions)
    folder = output_folder(args, "robustness")
    with FolderLock(str(folder)):
        evaluation = Evaluation(models, images, conditions, str(folder))
        evaluation.run(args.batch_size, args.workers)
        rows = rows_of(evaluation)
        classes = cfg.DATASET.SUBSAMPLE_CLASSES
        sections = page.sections_of(rows, conditions, cfg.DATASET.NAME, classes)
        notes = notes_of(models, conditions, images, cfg)
        record = record_of(args, cfg, images, conditions, page.result_rows(rows, conditions))
        path = page.write_files(rows, sections, notes, record, folder)
    for section in sections:
        if section.table:
            print(f"\n{section.title}:")
            print("\n".join(aligned([section.columns, *section.table])))
    for note in notes:
        print(f"Note: {note}")
    print(f"Page: {os.path.relpath(path) if path.is_relative_to(Path.cwd()) else path}")


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv), resume="The same command resumes.")


if __name__ == "__main__":
    sys.exit(main())

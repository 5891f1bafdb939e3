"""Calibrates a finished run on validation images: a temperature for its probabilities, and prediction sets.

python tools/calibrate.py RUN                              on the validation images of the run
python tools/calibrate.py RUN --images all_val             on all validation images of the dataset
python tools/calibrate.py RUN --coverage 0.9 0.95          tests two coverages
python tools/calibrate.py RUN --score aps                  sets that are larger for images that are harder

Temperature scaling (https://arxiv.org/abs/1706.04599) divides the logits by the T with the lowest NLL. Split conformal
prediction (https://arxiv.org/abs/2107.07511) gives sets of classes that contain the true class with a stated
probability, the coverage. Both are tested on the test images, which choose nothing. Several runs are calibrated one
after the other.

Writes RUN/calibration.json, which predict.py uses (--conformal 0.9 prints sets), and to RUN/calibration a reliability
diagram and the coverage per class. See docs/calibration.md.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trainers  # noqa: E402, F401  (makes dassl importable)
from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.classifier_options import add_options, check_distinct, load_plugins  # noqa: E402
from trainers.common.inference import conformal  # noqa: E402
from trainers.common.inference.conformal import Score  # noqa: E402
from trainers.common.runs.finished import read_run  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_options(parser, "epoch", "precision", "backbone", several=True)
    parser.add_argument(
        "--images", choices=("val", "all_val", "unused_train"), default="val",
        help="calibration images: the validation images of the run (val), all of the dataset (all_val), or training "
        "images that the run has not used (unused_train); default: val",
    )  # fmt: skip
    parser.add_argument(
        "--max-images", type=int, default=10_000, help="of more calibration images, sample this many (default: 10000)"
    )
    parser.add_argument("--classes", choices=("all", "base", "new"), default="", help="default: those of the run")
    parser.add_argument(
        "--coverage", type=float, nargs="+", default=[0.9], help="coverages to test, between 0 and 1 (default: 0.9)"
    )
    parser.add_argument("--score", choices=conformal.SCORES, default="lac", help="conformal score (default: lac)")
    parser.add_argument("--penalty", type=float, default=Score.penalty, help="per rank, of raps (default: 0.01)")
    parser.add_argument("--free-ranks", type=int, default=Score.free_ranks, help="without penalty (default: 5)")
    parser.add_argument("--seed", type=int, default=1, help="of aps, raps and the sampling of images (default: 1)")
    parser.add_argument("--root", default="", help="folder with the datasets (default: that of the run)")
    parser.add_argument("--batch-size", type=int, default=100, help="images per batch (default: 100)")
    parser.add_argument("--workers", type=int, default=2, help="data loader processes (default: 2)")
    return parser.parse_args(argv)


def check_args(args) -> None:
    """Raises ValueError for an invalid number."""
    least = {"max_images": 1, "penalty": 0, "free_ranks": 0, "seed": 0, "batch_size": 1, "workers": 0}
    for name, minimum in least.items():
        value = getattr(args, name)
        if not value >= minimum:  # also true for NaN
            raise ValueError(f"--{name.replace('_', '-')} must be at least {minimum}, got {value}")
    args.coverage = list(dict.fromkeys(args.coverage))
    for coverage in args.coverage:
        try:
            conformal.needed_images(coverage)
        except ValueError as error:
            raise ValueError(f"--coverage: {error}") from error


def run(args) -> None:
    from tools.calibrating.output import text, write_files  # imports matplotlib
    from tools.calibrating.run import calibrate_run

    check_args(args)
    load_plugins(args)
    check_distinct(args.runs)
    found = {path: read_run(path, args.epoch) for path in args.runs}  # before the first one is evaluated
    for path, (state, file) in found.items():
        result = calibrate_run(path, state, file, args)
        print(text(result))
        write_files(result)
        print(f"Saved {result.path}; reliability diagram and coverage per class: {result.folder}/calibration\n")


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())

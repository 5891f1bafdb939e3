"""The options of tools/predict.py that use the calibration of a run."""

import dataclasses
import sys

from trainers.common.inference.conformal import needed_images


def add_calibration_options(parser) -> None:
    parser.add_argument(
        "--conformal", type=float, metavar="COVERAGE",
        help="add the prediction set of each image: classes that contain the true one with this probability, e.g. 0.9; "
        "needs tools/calibrate.py",
    )  # fmt: skip
    parser.add_argument(
        "--uncalibrated", action="store_true", help="print the model's own probabilities, without a temperature"
    )


def check_calibration_options(args) -> None:
    """Raises ValueError for an invalid coverage, and for options that have no effect on a search."""
    if args.conformal is not None:
        try:
            needed_images(args.conformal)
        except ValueError as error:
            raise ValueError(f"--conformal: {error}") from error
    if args.search is not None and (args.conformal is not None or args.uncalibrated):
        raise ValueError("--conformal and --uncalibrated need classes: leave them out with --search")


def use_calibration(classifier, args) -> None:
    """Calibrates the classifier as the run is, and prints which probabilities follow.

    A calibration that is of another model or other classes is not used. Raises ValueError or FileNotFoundError if
    --conformal needs one, or needs more calibration images.
    """
    if args.uncalibrated and args.conformal is None:
        return
    try:
        calibration = classifier.use_calibration()
    except (ValueError, OSError) as error:
        if args.conformal is not None:
            raise
        if not isinstance(error, FileNotFoundError):
            print(f"Note: the probabilities are not calibrated: {error}", file=sys.stderr)
        return
    if args.conformal is not None:
        calibration.threshold(args.conformal)  # raises now rather than after the first images
    if args.uncalibrated:
        classifier.calibration = dataclasses.replace(calibration, temperature=1.0)
    else:
        print(
            f"Probabilities at temperature {calibration.temperature:.4g} ({calibration.path}); --uncalibrated prints "
            "the model's own",
            file=sys.stderr,
        )

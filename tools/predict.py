"""Classifies images with the fine-tuned model of a run.

python tools/predict.py output/mine cat.jpg                                     top 5 classes of one image
python tools/predict.py output/mine photos --csv predictions.csv                all images in a folder
python tools/predict.py output/mine photos --classes "cat,dog" --json out.json  other classes
python tools/predict.py output/mine photos --conformal 0.9                      sets with a coverage of 90 %

If the run is calibrated (tools/calibrate.py), probabilities are at its temperature, and --conformal prints the classes
of each image's prediction set. RUN is a run directory, a checkpoint, or a tuned.safetensors. Unreadable images are
reported and skipped; the exit code is then 1.
"""

import argparse
import dataclasses
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trainers  # noqa: E402, F401, I001  (makes dassl importable, so it comes first)

from tqdm import tqdm  # noqa: E402

from datasets import own_images  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.classifier_options import add_options, load  # noqa: E402
from tools.predicting.output import Row, as_csv, as_json, as_text  # noqa: E402
from trainers.common.finite import InvalidLogits  # noqa: E402
from trainers.common.inference.conformal import needed_images  # noqa: E402
from trainers.common.runs.files import write_atomically  # noqa: E402


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_FOLDER", help="images; folders are searched recursively")
    parser.add_argument("--top", type=int, default=5, help="number of classes per image (default: 5)")
    parser.add_argument("--csv", metavar="FILE", help="write one row per image: image,class,probability,class_2,...")
    parser.add_argument("--json", metavar="FILE", help="write a list of the images and their classes; - for stdout")
    parser.add_argument("--batch-size", type=int, default=32, help="images per batch (default: 32)")
    parser.add_argument(
        "--conformal", type=float, metavar="COVERAGE",
        help="add the prediction set of each image: classes that contain the true one with this probability, e.g. 0.9; "
        "needs tools/calibrate.py",
    )  # fmt: skip
    parser.add_argument(
        "--uncalibrated", action="store_true", help="print the model's own probabilities, without a temperature"
    )
    return parser.parse_args(argv)


def find_images(arguments: list[str]) -> list[str]:
    """Returns the paths of the images without duplicates: given files, and the sorted images in given folders.

    In folders, images are those that training on them would use (`own_images`). Prints what is left out to stderr.

    Raises FileNotFoundError if a path does not exist or a folder has no images.
    """
    images = []
    for argument in arguments:
        if not os.path.exists(argument):
            raise FileNotFoundError(f"{argument} does not exist: give image files or folders")
        if os.path.isfile(argument):
            images.append(argument)
            continue
        found = own_images.find_images(argument)
        left_out = own_images.describe(found.left_out)
        if not found.paths:
            endings = ", ".join(own_images.IMAGE_SUFFIXES)
            raise FileNotFoundError(
                f"no images in {argument}: {left_out or 'it is empty'}; endings of images: {endings}"
            )
        if left_out:
            print(f"Images in {argument}: {left_out}", file=sys.stderr)
        images += [os.path.join(argument, path) for path in found.paths]
    return list(dict.fromkeys(images))


def classify(classifier, paths: list[str], batch_size: int, top: int, coverage: float | None = None):
    """Yields the Row of each image with its `top` classes, or the OSError if it is unreadable.

    Args:
        coverage: of the prediction sets in the rows; None: no sets.

    Raises FloatingPointError if the logits of an image are infinite or NaN.
    """
    generator = classifier.calibration.score.generator() if coverage else None

    def prepare(path):
        try:
            return classifier.prepare(path)
        except OSError as error:
            return error

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), batch_size):
            chunk = paths[start : start + batch_size]
            prepared = list(pool.map(prepare, chunk))
            images = [image for image in prepared if not isinstance(image, OSError)]
            try:
                predictions = classifier.predict(images, batch_size)
            except InvalidLogits as error:
                readable = [path for path, image in zip(chunk, prepared, strict=True) if not isinstance(image, OSError)]
                raise FloatingPointError(f"{readable[error.index]}: {error}") from error
            sets = predictions.sets(coverage, generator) if coverage else [None] * len(images)
            found = zip(predictions.top(top), sets, strict=True)
            for path, image in zip(chunk, prepared, strict=True):
                yield image if isinstance(image, OSError) else Row(path, *next(found))


def check_writable(path: str) -> None:
    """Raises OSError if the output file cannot be written. Called before the images are classified."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder: give a file to write")
    os.makedirs(folder, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"no permission to write in {folder}")


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


def write(rows: list[Row], args) -> None:
    for path, format_rows in ((args.csv, as_csv), (args.json, as_json)):
        if path == "-":
            print(format_rows(rows), end="")
        elif path:
            write_atomically(path, format_rows(rows))
            print(f"Wrote the predictions for {len(rows):,} images to {path}", file=sys.stderr)
    if not args.csv and not args.json and rows:
        print(as_text(rows), end="")


def run(args) -> int:
    for name, value in (("--top", args.top), ("--batch-size", args.batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    if args.conformal is not None:
        needed_images(args.conformal)  # raises if it is not between 0 and 1
    for path in (args.csv, args.json):
        if path and path != "-":
            check_writable(path)
    paths = find_images(args.images)
    for output in (args.csv, args.json):
        if output and os.path.exists(output) and os.path.realpath(output) in map(os.path.realpath, paths):
            raise ValueError(f"{output} is one of the images: give another file to write")
    classifier = load(args)
    use_calibration(classifier, args)
    rows = []
    unreadable = 0
    interrupted = False
    try:
        predictions = classify(classifier, paths, args.batch_size, args.top, args.conformal)
        for result in tqdm(predictions, total=len(paths), unit=" images", disable=len(paths) == 1):
            if isinstance(result, OSError):
                tqdm.write(f"error: {result}", file=sys.stderr)
                unreadable += 1
            else:
                rows.append(result)
    except KeyboardInterrupt:
        interrupted = True
    write(rows, args)
    if interrupted:
        print(f"Interrupted after {len(rows) + unreadable:,} of {len(paths):,} images", file=sys.stderr)
        return 130
    if unreadable and len(paths) > 1:
        print(f"Skipped {unreadable:,} unreadable of {len(paths):,} images (see above)", file=sys.stderr)
    return 1 if unreadable else 0


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())

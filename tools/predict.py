"""Classifies images with the fine-tuned model of a run.

python tools/predict.py output/mine cat.jpg                                     top 5 classes of one image
python tools/predict.py output/mine photos --csv predictions.csv                all images in a folder
python tools/predict.py output/mine photos --classes "cat,dog" --json out.json  other classes
python tools/predict.py output/mine photos --search "a dog on a beach"          the images most similar to a text
python tools/predict.py output/mine photos --conformal 0.9                      sets with a coverage of 90 %
python tools/predict.py zero-shot photos --classes "cat,dog"                    zero-shot CLIP, no run

RUN is a run directory, a checkpoint, or a tuned.safetensors; or zero-shot, with --backbone (default: ViT-B/16). If a
run is calibrated (tools/calibrate.py), probabilities are at its temperature, and --conformal adds the prediction set of
each image. Unreadable images are reported and skipped; the exit code is then 1.
"""

import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trainers  # noqa: E402, F401, I001  (makes dassl importable, so it comes first)

from tqdm import tqdm  # noqa: E402

from datasets import own_images  # noqa: E402
from runtime.arguments import Parser  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.classifier_options import add_options  # noqa: E402
from tools.predicting.calibration import add_calibration_options, check_calibration_options, use_calibration  # noqa: E402
from tools.predicting.images import prepared  # noqa: E402
from tools.predicting.models import load_for_classes, load_for_search  # noqa: E402
from tools.predicting.output import Row, as_csv, as_json, as_text  # noqa: E402
from trainers.common.finite import InvalidLogits  # noqa: E402
from trainers.common.runs.files import write_atomically  # noqa: E402


def parse_args(argv=None):
    parser = Parser(description=__doc__)
    add_options(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_FOLDER", help="images; folders are searched recursively")
    parser.add_argument(
        "--search", action="append", metavar="TEXT",
        help="instead of classifying, list the images of folders that are most similar to a text; may be repeated",
    )  # fmt: skip
    parser.add_argument("--top", type=int, default=5, help="classes per image, or images per --search (default: 5)")
    parser.add_argument("--csv", metavar="FILE", help="write one row per image: image,class,probability,class_2,...")
    parser.add_argument("--json", metavar="FILE", help="write a list of the images and their classes; - for stdout")
    parser.add_argument("--batch-size", type=int, default=32, help="images per batch (default: 32)")
    add_calibration_options(parser)
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
            raise FileNotFoundError(
                f"no images in {argument}: {left_out or 'it is empty'}; names of images end in .jpg, .png, .webp or "
                "another ending of docs/datasets.md"
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
    for batch in prepared(classifier, paths, batch_size):
        readable = [(path, image) for path, image in batch if not isinstance(image, OSError)]
        try:
            predictions = classifier.predict([image for _, image in readable], batch_size)
        except InvalidLogits as error:
            raise FloatingPointError(f"{readable[error.index][0]}: {error}") from error
        sets = predictions.sets(coverage, generator) if coverage else [None] * len(readable)
        found = zip(predictions.top(top), sets, strict=True)
        for path, image in batch:
            yield image if isinstance(image, OSError) else Row(path, *next(found))


def check_writable(path: str) -> None:
    """Raises OSError if the output file cannot be written. Called before the images are classified."""
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder: give a file to write")
    folder = os.path.dirname(os.path.abspath(path))
    while not os.path.lexists(folder):  # it is created with the file
        folder = os.path.dirname(folder)
    if not os.path.isdir(folder):
        raise NotADirectoryError(f"{path} cannot be written: {folder} is a file")
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"no permission to write in {folder}")


def write(rows, args, what: str, formats=(as_csv, as_json, as_text)) -> None:
    to_csv, to_json, to_text = formats
    for path, format_rows in ((args.csv, to_csv), (args.json, to_json)):
        if path == "-":
            print(format_rows(rows).encode("utf-8", "backslashreplace").decode(), end="")  # as in a file
        elif path:
            write_atomically(path, format_rows(rows))
            print(f"Wrote {what} to {path}", file=sys.stderr)
    if not args.csv and not args.json and rows:
        print(to_text(rows), end="")


def check_outputs(args, paths: list[str]) -> None:
    """Raises ValueError if an output file is one of the images."""
    for output in (args.csv, args.json):
        if output and os.path.exists(output) and os.path.realpath(output) in map(os.path.realpath, paths):
            raise ValueError(f"{output} is one of the images: give another file to write")


def search(args) -> int:
    from tools.predicting import search  # imported here, as most predictions do not need it

    texts = search.check_texts(args)
    folders = {folder: find_images([folder]) for folder in dict.fromkeys(args.images)}
    paths = [path for found in folders.values() for path in found]
    check_outputs(args, paths)
    classifier = load_for_search(args)
    text = search.text_features(classifier.trainer, texts, args.template)
    found = [search.find(classifier, *item, args.batch_size, text.shape[1]) for item in folders.items()]
    results = dict(zip(texts, search.rank(text, found, args.top), strict=True))
    write(results, args, f"the results of {len(texts):,} searches", (search.as_csv, search.as_json, search.as_text))
    unreadable = len(paths) - sum(len(folder.paths) for folder in found)
    if unreadable:
        print(f"Skipped {unreadable:,} unreadable of {len(paths):,} images (see above)", file=sys.stderr)
    return 1 if unreadable else 0


def run(args) -> int:
    for name, value in (("--top", args.top), ("--batch-size", args.batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    for path in (args.csv, args.json):
        if path and path != "-":
            check_writable(path)
    check_calibration_options(args)
    if args.search is not None:
        return search(args)
    paths = find_images(args.images)
    check_outputs(args, paths)
    classifier = load_for_classes(args)
    use_calibration(classifier, args)
    rows = []
    unreadable = 0
    interrupted = False
    try:
        predictions = classify(classifier, paths, args.batch_size, args.top, args.conformal)
        for result in tqdm(predictions, total=len(paths), unit=" images", disable=len(paths) == 1 or None):
            if isinstance(result, OSError):
                tqdm.write(f"error: {result}", file=sys.stderr)
                unreadable += 1
            else:
                rows.append(result)
    except KeyboardInterrupt:
        interrupted = True
    write(rows, args, f"the predictions for {len(rows):,} images")
    if interrupted:
        print(f"Interrupted after {len(rows) + unreadable:,} of {len(paths):,} images", file=sys.stderr)
        return 130
    if unreadable and len(paths) > 1:
        print(f"Skipped {unreadable:,} unreadable of {len(paths):,} images (see above)", file=sys.stderr)
    return 1 if unreadable else 0


def main(argv=None) -> int:
    args = parse_args(argv)
    return exit_code(run, args, resume="The same command resumes the search." if args.search else "")


if __name__ == "__main__":
    sys.exit(main())

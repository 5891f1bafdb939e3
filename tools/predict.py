"""Classifies images with what a run tuned.

python tools/predict.py output/mine cat.jpg                                     the most probable classes of one image
python tools/predict.py output/mine photos --csv found.csv                      all images of a folder
python tools/predict.py output/mine photos --classes "cat,dog" --json found.json

RUN is the output folder of a run, a checkpoint, or a tuned.safetensors. Images that cannot be read are named and left
out; the exit code is then 1.
"""

import argparse
import csv
import io
import json
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import trainers  # noqa: E402, F401, I001  (makes dassl importable, so it comes first)

from tqdm import tqdm  # noqa: E402

from datasets.image_folders import IMAGE_SUFFIXES  # noqa: E402
from runtime.user_errors import exit_code  # noqa: E402
from tools.classifier_options import add_options, load  # noqa: E402
from trainers.common.runs.files import write_atomically  # noqa: E402


def parse_args(argv=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    add_options(parser)
    parser.add_argument("images", nargs="+", metavar="IMAGE_OR_FOLDER", help="folders are searched with all below them")
    parser.add_argument("--top", type=int, default=5, help="classes shown of each image (default: 5)")
    parser.add_argument("--csv", metavar="FILE", help="write a row an image: image,class,probability,class_2,...")
    parser.add_argument("--json", metavar="FILE", help="write a list of all images and their classes; FILE - is stdout")
    parser.add_argument("--batch-size", type=int, default=32, help="images classified at once (default: 32)")
    return parser.parse_args(argv)


def find_images(arguments: list[str]) -> list[str]:
    """Paths of the images, each once; files as given, of folders all files with an image's ending, sorted.

    Raises FileNotFoundError if there is nothing at a path, or no image in a folder.
    """
    found = []
    for argument in arguments:
        if not os.path.exists(argument):
            raise FileNotFoundError(f"no image and no folder at {argument}")
        if os.path.isfile(argument):
            found.append(argument)
            continue
        inside = [p for p in sorted(Path(argument).rglob("*")) if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file()]
        if not inside:
            raise FileNotFoundError(f"no images in {argument}: no file there ends in {', '.join(IMAGE_SUFFIXES)}")
        found += map(str, inside)
    return list(dict.fromkeys(found))


def classify(classifier, paths: list[str], batch_size: int, top: int):
    """Yield of every image its path and either the `top` classes as (name, probability), or the OSError."""

    def prepare(path):
        try:
            return classifier.prepare(path)
        except OSError as error:
            return error

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), batch_size):
            chunk = paths[start : start + batch_size]
            prepared = list(pool.map(prepare, chunk))
            rows = iter(classifier.predict((x for x in prepared if not isinstance(x, OSError)), batch_size).top(top))
            for path, x in zip(chunk, prepared, strict=True):
                yield path, x if isinstance(x, OSError) else next(rows)


def as_csv(rows) -> str:
    k = len(rows[0][1]) if rows else 1
    header = ["image", "class", "probability"]
    for place in range(2, k + 1):
        header += [f"class_{place}", f"probability_{place}"]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    for path, classes in rows:
        writer.writerow([path, *(value for name, p in classes for value in (name, f"{p:.6f}"))])
    return text.getvalue()


def as_json(rows) -> str:
    items = [{"image": path, "classes": [{"name": n, "probability": p} for n, p in classes]} for path, classes in rows]
    return "[\n" + ",\n".join(json.dumps(item, ensure_ascii=False) for item in items) + "\n]\n"


def as_text(rows) -> str:
    if len(rows) == 1:
        return "\n".join([rows[0][0], *(f"{100 * p:7.2f}%  {name}" for name, p in rows[0][1])]) + "\n"
    lines = [f"{path}  " + ", ".join(f"{name} {100 * p:.2f}%" for name, p in classes) for path, classes in rows]
    return "\n".join(lines) + "\n"


def check_writable(path: str) -> None:
    """Raise before the work is done what would be raised after it."""
    folder = os.path.dirname(path) or "."
    if os.path.isdir(path):
        raise IsADirectoryError(f"{path} is a folder: give the name of a file to write")
    os.makedirs(folder, exist_ok=True)
    if not os.access(folder, os.W_OK):
        raise PermissionError(f"no permission to write in {folder}")


def write(rows, args) -> None:
    for path, form in ((args.csv, as_csv), (args.json, as_json)):
        if path == "-":
            print(form(rows), end="")
        elif path:
            write_atomically(path, form(rows))
            print(f"{len(rows):,} images: {path}", file=sys.stderr)
    if not args.csv and not args.json and rows:
        print(as_text(rows), end="")


def run(args) -> int:
    for name, value in (("--top", args.top), ("--batch-size", args.batch_size)):
        if value < 1:
            raise ValueError(f"{name} must be at least 1, got {value}")
    for path in (args.csv, args.json):
        if path and path != "-":
            check_writable(path)
    paths = find_images(args.images)
    classifier = load(args)
    rows, broken, interrupted = [], 0, False
    try:
        found = classify(classifier, paths, args.batch_size, args.top)
        for path, result in tqdm(found, total=len(paths), unit=" images", disable=len(paths) == 1):
            if isinstance(result, OSError):
                tqdm.write(f"error: {result}", file=sys.stderr)
                broken += 1
            else:
                rows.append((path, result))
    except KeyboardInterrupt:
        interrupted = True
    write(rows, args)
    if interrupted:
        print(f"Interrupted after {len(rows) + broken:,} of {len(paths):,} images", file=sys.stderr)
        return 130
    if broken and len(paths) > 1:
        print(f"{broken:,} of {len(paths):,} images could not be read (named above)", file=sys.stderr)
    return 1 if broken else 0


def main(argv=None) -> int:
    return exit_code(run, parse_args(argv))


if __name__ == "__main__":
    sys.exit(main())

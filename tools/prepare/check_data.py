"""Checks whether a dataset is complete, readable and in CoOp's layout, and says what to do if not."""

import functools
import os
import warnings
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import yaml
from PIL import Image
from tqdm import tqdm

from dassl.data.datasets import DATASET_REGISTRY
from datasets import catalogue
from datasets.splits import check_classes, check_images

PARTS = ("classes", "train", "val", "test")
ARCHIVES = ("*.zip", "*.tar", "*.tgz", "*.tar.gz")


class Report(NamedTuple):
    """State (ok, wrong or missing), a line of counts, and the problems, each with its remedy."""

    name: str
    state: str
    counts: str
    problems: list


@functools.cache
def load_layouts():
    """Layouts other than CoOp's, by registry name; see layouts.yaml."""
    return yaml.safe_load(Path(__file__).with_name("layouts.yaml").read_text(encoding="utf-8"))


def check(name, root, decode=True):
    """`Report` on the dataset `name` in `root`. Writes nothing.

    Args:
        decode: read each image to its end; without, images need only be there.
    """
    places = DATASET_REGISTRY.get(name).at_root(root)
    layout = load_layouts().get(name, {})
    problems = misplaced(places, layout)
    if not os.path.isdir(places.image_dir):
        state = "wrong" if problems or os.path.isdir(places.dataset_dir) else "missing"
        return Report(name, state, "", problems or [f"there is no {places.image_dir}. {places.remedy()}"])
    try:
        split, made, source = places.read_split()
        check_classes(split, source)
    except (ValueError, OSError) as error:
        return Report(name, "wrong", "", [*problems, str(error)])
    problems += check_split(places, made, source)
    counts = [len({item.label for item in split.train}), *map(len, split)]
    problems += check_counts(counts, catalogue.entries()[name].counts)
    images = {item.path: item for part in split for item in part}
    try:
        check_images(images.values(), places.image_dir, source)
    except FileNotFoundError as error:
        problems.append(f"{error}. {places.remedy()}")
    else:
        problems += unreadable(images, places.image_dir) if decode else []
    text = ", ".join(f"{count:,} {part}" for count, part in zip(counts, PARTS, strict=True))
    return Report(name, "wrong" if problems else "ok", text, problems)


def misplaced(places, layout):
    """Images in the folders of other layouts, and archives that were never unpacked."""
    problems = []
    folder = Path(places.dataset_dir)
    for pattern in layout.get("wrong", []):
        found = next(folder.glob(pattern["pattern"]), None) if folder.is_dir() else None
        if found:
            problems.append(f"{found}: {pattern['remedy']}")
    if os.path.isdir(places.image_dir) and places.image_dir != places.dataset_dir:
        return problems
    for path in layout.get("elsewhere", []):
        path = os.path.join(places.root, path)
        if os.path.isdir(path):
            mkdir = f"mkdir -p '{os.path.dirname(places.image_dir)}'"
            problems.append(f"the images lie in {path}: {mkdir} && mv '{path}' '{places.image_dir}'")
    for pattern in ARCHIVES:
        problems += [f"{path} is not unpacked" for path in folder.glob(pattern)]
    return problems


def check_split(places, made, source):
    """Problems that keep results on the split from being comparable with published ones."""
    if not places.split_path or places.default_root:
        return []
    name = os.path.basename(places.split_path)
    if source != places.split_path:
        return [f"there is no {name}: training would make a split of its own. {places.remedy()}"]
    if made:
        return [f"{name} is not CoOp's but was made here ({made}). {places.remedy()}"]
    return []


def check_counts(counts, expected):
    wrong = [
        f"{count:,} {part} instead of {right:,}"
        for count, part, right in zip(counts, PARTS, expected, strict=False)  # () compares nothing
        if right is not None and count != right
    ]
    return [f"it has {', '.join(wrong)}: data or split are incomplete or another version's"] if wrong else []


def unreadable(paths, image_dir):
    """One line for images that cannot be read to their end, or are huge."""
    paths = [os.path.join(image_dir, path) for path in paths]
    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # reported as a problem
        reasons = list(
            tqdm(pool.map(why_unreadable, paths), total=len(paths), desc="Reading", unit="image", leave=False)
        )
    bad = [(path, reason) for path, reason in zip(paths, reasons, strict=True) if reason]
    if not bad:
        return []
    return [f"{len(bad):,} image(s) cannot be used, the first being {bad[0][0]} ({bad[0][1]}): restore or remove them"]


def why_unreadable(path):
    """Why the image cannot be used, "" if it can."""
    try:
        with Image.open(path) as image:
            if image.width * image.height > Image.MAX_IMAGE_PIXELS:
                return f"{image.width} x {image.height} pixels"
            image.draft("RGB", (32, 32))  # decodes a JPEG whole, but at an eighth of the cost
            image.load()
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, ...
        return " ".join(str(error).split()) or type(error).__name__
    return ""

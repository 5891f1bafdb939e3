"""Finds images that occur more than once in a dataset: the same file, or different files of equal content."""

import hashlib
import os
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from tqdm import tqdm

from trainers.common import leakage


def find_duplicates(dataset, split, read_content):
    """Returns (problems, notes), one line per kind of duplicate.

    The same file in two parts, twice in test or with two labels is a problem. Equal content is a note, because several
    published datasets have a few such images.

    Args:
        read_content: also compare the content of the files.
    """
    parts = {"test": split.test} if dataset.test_only else split._asdict()
    paths = {item.path for items in parts.values() for item in items}
    contents = digests(paths, dataset.image_dir) if read_content else {}
    rows = {part: [(i.path, i.label, contents.get(i.path)) for i in items] for part, items in parts.items()}
    overlaps = leakage.find(rows)
    problems = [f"{overlap}: keep one" for overlap in overlaps if overlap.by == "path"]
    return problems, [str(overlap) for overlap in overlaps if overlap.by == "content"]


def digests(paths, image_dir):
    """Returns {path: digest of the content} of the files that are as large as another one. Skips unreadable files."""
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        sizes = dict(zip(paths, pool.map(lambda path: size(os.path.join(image_dir, path)), paths), strict=True))
        counts = Counter(sizes.values())
        same_size = [path for path in paths if sizes[path] is not None and counts[sizes[path]] > 1]
        values = pool.map(lambda path: digest(os.path.join(image_dir, path)), same_size)
        values = tqdm(values, total=len(same_size), desc="Comparing", unit="image", leave=False, disable=None)
        return dict(zip(same_size, values, strict=True))


def size(path):
    """Returns the size of a file in bytes; None if it cannot be read."""
    try:
        return os.stat(path).st_size
    except OSError:
        return None


def digest(path):
    """Returns the BLAKE2 digest of a file; None if it cannot be read."""
    try:
        with open(path, "rb") as file:
            return hashlib.blake2b(file.read(), digest_size=16).digest()
    except OSError:
        return None

"""Reads images with several threads."""

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor


def prepared(classifier, paths: list[str], batch_size: int) -> Iterator[list]:
    """Yields batches of (path, input tensor, or the OSError if the image is unreadable)."""

    def prepare(path):
        try:
            return classifier.prepare(path)
        except OSError as error:
            return error

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for start in range(0, len(paths), batch_size):
            chunk = paths[start : start + batch_size]
            yield list(zip(chunk, pool.map(prepare, chunk), strict=True))

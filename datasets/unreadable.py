"""Finds the image files that cannot be read."""

import os
import warnings
from concurrent.futures import ThreadPoolExecutor

from PIL import Image
from tqdm import tqdm

from dassl.utils import read_image


def find_unreadable(paths, read=read_image) -> dict:
    """Returns {path: why it cannot be read, in one line} for the unreadable files of `paths`. Decodes every file.

    `read` raises OSError or ValueError, as `read_image` does.
    """

    def reason(path):
        try:
            read(path)
        except (OSError, ValueError) as error:
            return " ".join(str(error).split())
        return ""

    with ThreadPoolExecutor(os.cpu_count()) as pool, warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # a large image that is read
        found = pool.map(reason, paths)
        reasons = list(tqdm(found, total=len(paths), desc="Reading", unit="image", leave=False, disable=None))
    return {path: reason for path, reason in zip(paths, reasons, strict=True) if reason}

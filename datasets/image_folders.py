"""Lists image files and class folders in sorted order, independent of the file system."""

import contextlib
import os
from importlib.util import find_spec
from typing import NamedTuple

from trainers.common.classes import check_text

from .splits import Item


class Opener(NamedTuple):
    """What opens an ending that not every installation opens, and how to get it."""

    module: str
    remedy: str


# Endings of the formats that `read_image` opens. The list is fixed, so that the images of a dataset do not depend on
# the version of Pillow.
ALWAYS = tuple(
    ".jpg .jpeg .jpe .jfif .mpo .png .apng .bmp .dib .gif .tif .tiff .webp .ppm .pgm .pbm .pnm .pfm .jp2 .j2k .jpc "
    ".jpf .jpx .j2c .tga .icb .vda .vst .pcx .psd .bw .rgb .rgba .sgi .ras .qoi .dds .ico .icns .msp .xbm .xpm".split()
)
_HEIF, _AVIF = Opener("pillow_heif", "pip install pillow-heif"), Opener("PIL.AvifImagePlugin", "needs Pillow 11.3")
OPTIONAL = {".heic": _HEIF, ".heif": _HEIF, ".hif": _HEIF, ".avif": _AVIF, ".avifs": _AVIF}
IMAGE_SUFFIXES = ALWAYS + tuple(suffix for suffix, needs in OPTIONAL.items() if find_spec(needs.module))


def suffix_of(name):
    """Returns the ending of a file name in lower case, with its dot: "a.JPG" -> ".jpg"; "" if it has none."""
    return os.path.splitext(name)[1].lower()


def _sorted_names(folder, accept):
    """Returns the sorted names that `accept` selects. Skips hidden entries, broken links and link loops."""
    names = []
    with os.scandir(folder) as entries:
        for entry in entries:
            with contextlib.suppress(OSError):
                if not entry.name.startswith(".") and accept(entry):
                    names.append(entry.name)
    for name in names:
        check_text(name, "file name", repr(folder))
    return sorted(names)


def list_folders(folder):
    """Returns the sorted names of the folders in `folder`, without hidden ones."""
    return _sorted_names(folder, lambda entry: entry.is_dir())


def list_images(folder):
    """Returns the sorted names of the image files in `folder`, without hidden ones."""
    return _sorted_names(folder, lambda entry: entry.name.lower().endswith(IMAGE_SUFFIXES) and entry.is_file())


def folder_items(image_dir, ignored=(), classnames=None, under="", numbering=None):
    """Returns the `Item`s of one folder per class, labelled by sorted folder name.

    Args:
        image_dir: folder that the paths of the items are relative to.
        ignored: names of folders to skip.
        classnames: dict from folder name to class name; the default class name is the folder name.
        under: sub-folder of `image_dir` with the class folders.
        numbering: all class folders in the order of their labels, if those in `under` may be incomplete.

    Raises:
        ValueError: if a class folder has no images.
    """
    items = []
    folders = [name for name in list_folders(os.path.join(image_dir, under)) if name not in ignored]
    labels = {folder: label for label, folder in enumerate(numbering or folders)}
    for folder in folders:
        names = list_images(os.path.join(image_dir, under, folder))
        if not names:
            raise ValueError(f"class folder {os.path.join(image_dir, under, folder)} has no images")
        classname = (classnames or {}).get(folder, folder)
        items += [Item("/".join(filter(None, (under, folder, name))), labels[folder], classname) for name in names]
    return items
